"""Residual networks for CIFAR: settings, network, published checkpoints."""
