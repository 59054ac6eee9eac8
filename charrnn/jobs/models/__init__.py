"""Model versions that travel between stores."""
