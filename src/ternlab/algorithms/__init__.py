"""Trainings by name: what is minimised, how, and what it needs from other runs."""
