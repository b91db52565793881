"""Benchmarks: speed of the data path, beside other loaders and beside its limits."""
