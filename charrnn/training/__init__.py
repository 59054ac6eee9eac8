"""Training from checkpoint to checkpoint. Only the modules `progress` and `batches` work without TensorFlow."""
