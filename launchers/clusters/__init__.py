"""Where jobs run: this machine or SLURM."""
