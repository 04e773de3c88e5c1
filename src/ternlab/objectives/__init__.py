"""Training objectives: a sum of named, weighted loss terms."""
