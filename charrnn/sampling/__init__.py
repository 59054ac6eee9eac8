"""Sampling of many rows at once. Only the modules `defaults` and `randomness` work without TensorFlow."""
