"""A plan of trials, searches, the scheduler, launchers (this machine, SLURM, Ray), tables of states."""
