"""Batches of sample indices, and their order."""
