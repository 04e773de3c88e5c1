"""SLURM from the inside of a job: what it says about the job, and the job's script; imports no torch."""
