"""Views to weights to measurements of those weights."""
