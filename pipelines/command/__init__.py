"""Shared by every command: one-line errors, options, progress."""
