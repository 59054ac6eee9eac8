"""Jobs that are submitted at set times."""
