"""Rows of jobs: input (seeds) and output (results)."""
