"""Settings common to all launchers."""

from __future__ import annotations

from ternlab.core.fields import Section


class ClusterSettings(Section):
    """Where the trials of a sweep run; each launcher registers a subclass with its own options.

    Attributes:
        name: a name registered in `ternlab.sweeps.launchers`.
    """

    name: str = "local"
