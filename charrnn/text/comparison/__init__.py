"""Comparison of two texts: what one has of the other, and how alike they are. NumPy at most."""
