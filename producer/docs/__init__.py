"""Generators of docs/reference.md and docs/schemas, which `make docs` runs."""
