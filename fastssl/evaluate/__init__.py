"""Measurements of a run's weights, one file a protocol."""
