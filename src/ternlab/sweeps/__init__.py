"""Sweeps: a plan of trials, launchers that carry it out, and tables of what came of it; free of torch."""
