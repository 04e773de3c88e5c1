"""Metrics on images: definition, unit, computation."""
