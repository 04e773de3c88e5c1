"""Runs on disk: identity, folder, record, what a run needs, pairing, life cycle."""
