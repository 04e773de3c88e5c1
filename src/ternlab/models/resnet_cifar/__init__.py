"""Residual networks for CIFAR: their settings, the network, published checkpoints."""
