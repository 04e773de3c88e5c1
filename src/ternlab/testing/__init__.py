"""Tests that are shipped: what every quantization rule and launcher must keep, also one from another package."""

from ternlab.testing.launcher import LauncherContract
from ternlab.testing.quantizer import QuantizerContract

__all__ = ["LauncherContract", "QuantizerContract"]
