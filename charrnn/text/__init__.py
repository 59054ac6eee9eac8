"""Text for training: documents, vocabulary and validation text. Depends only on NumPy."""
