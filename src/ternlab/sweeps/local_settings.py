"""Settings of the launcher for this machine."""

from __future__ import annotations

from ternlab.core.fields import PositiveInt
from ternlab.sweeps.cluster import ClusterSettings


class LocalCluster(ClusterSettings):
    """Processes on this machine.

    Attributes:
        workers: number of concurrent trials (`None`: one per core).
        threads: threads per trial (`None`: the cores divided by the workers).
    """

    name: str = "local"
    workers: PositiveInt | None = None
    threads: PositiveInt | None = None
