"""A run's folder, state, checkpoints, log and pictures."""
