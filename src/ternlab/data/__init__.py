"""Data sets in a fixed, resumable order; augmentation is a function of (seed, epoch, step)."""
