"""FFCV's .beton files."""
