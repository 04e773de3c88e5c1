"""Optimizers of the weights: settings and builders."""
