"""Contracts as tests to inherit: rules, loss terms, launchers."""

from ternlab.testing.launcher import LauncherContract
from ternlab.testing.quantizer import QuantizerContract
from ternlab.testing.term import TermContract

__all__ = ["LauncherContract", "QuantizerContract", "TermContract"]
