"""Settings of the Ray launcher."""

from __future__ import annotations

from ternlab.core.fields import NonNegativeInt, PositiveInt
from ternlab.sweeps.cluster import ClusterSettings


class RayCluster(ClusterSettings):
    """Ray actors.

    Attributes:
        address: address of an existing cluster, `HOST:PORT` (`None`: start one on this machine, on loopback).
        workers: number of concurrent trials (`None`: as many as the resources allow).
        cpus_per_trial: cores per trial.
        gpus_per_trial: GPUs per trial, with one process per GPU.
        results: folder for Ray Tune's results, a folder per sweep, for its own tools (`None`: they are not kept).
    """

    name: str = "ray"
    address: str | None = None
    workers: PositiveInt | None = None
    cpus_per_trial: PositiveInt = 1
    gpus_per_trial: NonNegativeInt = 0
    results: str | None = None
