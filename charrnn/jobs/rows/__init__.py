"""Rows on their way in (seeds) and out (results)."""
