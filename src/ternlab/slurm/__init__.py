"""SLURM from inside a job: its allocation and its script."""
