"""The contestants of the benchmarks: the product and its peers, each in a process of its own."""
