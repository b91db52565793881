"""Encoders as files of their own, for this package and for others."""
