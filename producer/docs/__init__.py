"""Generators of the reference pages, the schemas and the site, which `make docs` runs."""
