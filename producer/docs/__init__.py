"""What `make docs` writes into docs/ from the code."""
