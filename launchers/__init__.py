"""One config or many to jobs, on this machine or on SLURM, and from there to one table and one report."""

import fastssl as fastssl  # prepares the process where python -m runs a command of this house
