"""Data sets in a fixed, resumable order; augmentation drawn from (seed, epoch, step)."""
