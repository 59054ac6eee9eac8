"""Networks of recurrent layers. Only cells is free of TensorFlow."""
