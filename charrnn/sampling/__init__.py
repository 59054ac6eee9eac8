"""Sampling of many rows at once. Only the modules `sampler` and `next_character` import TensorFlow."""
