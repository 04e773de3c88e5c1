"""Runs on disk: identity, run directory, record, needed runs, pairing, lifecycle."""
