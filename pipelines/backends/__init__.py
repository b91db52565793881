"""Batches of views: who decodes and renders them."""
