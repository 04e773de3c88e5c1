"""Residual networks for ImageNet: settings and network."""
