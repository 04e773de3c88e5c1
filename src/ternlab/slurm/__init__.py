"""The job's side of SLURM: what the job is, and its script."""
