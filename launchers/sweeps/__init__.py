"""Studies and sweeps: planned runs, their folders, their progress."""
