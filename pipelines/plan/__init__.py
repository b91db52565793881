"""Which samples form which batch, in which order."""
