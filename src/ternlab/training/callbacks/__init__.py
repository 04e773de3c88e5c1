"""Callbacks: metrics, layer statistics, saving, progress."""
