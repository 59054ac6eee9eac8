"""Text for training: documents, vocabulary, validation text. Uses NumPy at most."""
