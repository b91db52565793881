"""Metrics of embeddings: logged while training, and measured by protocols and diagnostics."""
