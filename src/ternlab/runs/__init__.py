"""Runs on disk: identity, folder, lock, record. Files are the truth; free of torch."""
