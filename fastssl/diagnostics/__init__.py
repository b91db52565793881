"""Metrics of a batch's embeddings while training."""
