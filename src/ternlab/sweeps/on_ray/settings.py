"""Settings of the launcher for Ray."""

from __future__ import annotations

from ternlab.core.fields import NonNegativeInt, PositiveInt
from ternlab.sweeps.cluster import ClusterSettings


class RayCluster(ClusterSettings):
    """Actors of Ray.

    Attributes:
        address: of a cluster that runs already, `HOST:PORT` (`None`: one of its own on this machine, on loopback).
        workers: trials at a time (`None`: as many as the resources allow).
        cpus_per_trial: cores of each trial.
        gpus_per_trial: GPUs of each trial; one process for each.
    """

    name: str = "ray"
    address: str | None = None
    workers: PositiveInt | None = None
    cpus_per_trial: PositiveInt = 1
    gpus_per_trial: NonNegativeInt = 0
