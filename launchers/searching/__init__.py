"""Searches: a space of fields, trials drawn by Optuna, successive halving over jobs."""
