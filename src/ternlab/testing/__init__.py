"""Tests that are shipped: what every rule, loss term and launcher must keep, also one from another package."""

from ternlab.testing.launcher import LauncherContract
from ternlab.testing.quantizer import QuantizerContract
from ternlab.testing.term import TermContract

__all__ = ["LauncherContract", "QuantizerContract", "TermContract"]
