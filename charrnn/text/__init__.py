"""Text for training: documents, vocabulary, held-out text. Uses NumPy at most."""
