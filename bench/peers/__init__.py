"""The peers of the benchmarks: the product and the libraries beside it, each in a process of its own."""
