"""Networks of recurrent layers. Only the module `cells` works without TensorFlow."""
