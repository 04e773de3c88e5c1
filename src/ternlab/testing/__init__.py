"""Contract tests to inherit, for rules, loss terms and launchers."""

from ternlab.testing.launcher import LauncherContract
from ternlab.testing.quantizer import QuantizerContract
from ternlab.testing.term import TermContract

__all__ = ["LauncherContract", "QuantizerContract", "TermContract"]
