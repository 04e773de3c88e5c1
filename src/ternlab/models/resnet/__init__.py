"""Residual networks for ImageNet: their settings and the network."""
