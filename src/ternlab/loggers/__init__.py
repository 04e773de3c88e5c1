"""Mirrors of a run in other tools, made from the run's own files: a mirror may fail, the run may not."""
