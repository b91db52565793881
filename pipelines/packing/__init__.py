"""Packed copies of a data set: its images, and their checksums."""
