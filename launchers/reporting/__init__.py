"""From a sweep folder to its report: read, average over seeds, draw, write."""
