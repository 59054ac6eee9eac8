"""Deletion of jobs, of models and their versions, and of files that no row names."""
