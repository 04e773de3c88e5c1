"""Optimizers of the weights: their settings and how they are built."""
