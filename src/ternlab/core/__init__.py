"""Shared foundations: errors, files, locks, signals, random streams, registries, validated sections."""
