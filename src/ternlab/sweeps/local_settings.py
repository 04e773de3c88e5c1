"""Settings of the launcher for this machine."""

from __future__ import annotations

from ternlab.settings.cluster import ClusterSettings
from ternlab.settings.fields import PositiveInt


class LocalCluster(ClusterSettings):
    """Processes on this machine.

    Attributes:
        workers: trials beside one another (`None`: one for each core).
        threads: of each trial (`None`: the cores divided by the workers).
    """

    name: str = "local"
    workers: PositiveInt | None = None
    threads: PositiveInt | None = None
