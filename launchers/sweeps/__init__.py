"""Studies and sweeps: what is to run, where it lies, how far it is."""
