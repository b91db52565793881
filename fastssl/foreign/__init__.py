"""Weights of other libraries: files read without running code from them, and their names for ours."""
