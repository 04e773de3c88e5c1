"""Tests that are shipped: what every quantization rule must keep, also one from another package."""

from ternlab.testing.quantizer import QuantizerContract

__all__ = ["QuantizerContract"]
