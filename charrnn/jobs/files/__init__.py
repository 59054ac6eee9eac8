"""Storage of files in a local folder or a bucket."""
