"""Training from checkpoint to checkpoint."""
