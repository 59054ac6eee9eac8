"""Benchmarks: speed and quality of the product beside other libraries. `README.md` has the results."""
