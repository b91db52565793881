"""Reports of sweep folders: read the runs, average over seeds, draw, write."""
