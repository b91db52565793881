"""Metrics of transfer: evaluators that take predictions in image by image."""
