"""Mirrors of a run in other tools (W&B), made from the run's own files."""
