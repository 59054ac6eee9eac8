"""What may be deleted: models and their versions, and the files that no row names."""
