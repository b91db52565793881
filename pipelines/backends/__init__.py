"""Batches of views: the backends that decode and render them."""
