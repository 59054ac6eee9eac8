"""Measures how fast and how well the product works, beside its peers; `README.md` has the results."""
