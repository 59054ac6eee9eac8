"""Training from checkpoint to checkpoint. Only progress and batches are free of TensorFlow."""
