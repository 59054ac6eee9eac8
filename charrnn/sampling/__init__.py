"""Sampling many rows at once."""
