"""Encoders, heads, and the networks beside them."""
