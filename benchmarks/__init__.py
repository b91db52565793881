"""Benchmarks: speed of the data path, beside other loaders and beside its limits."""

import fastssl as fastssl  # prepares the process where python -m runs a command of this house
