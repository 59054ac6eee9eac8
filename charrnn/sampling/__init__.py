"""Sampling many rows at once. Only defaults and randomness are free of TensorFlow."""
