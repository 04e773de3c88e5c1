"""Settings of the launcher for SLURM."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ternlab.core.fields import PositiveInt
from ternlab.sweeps.cluster import ClusterSettings

# What may stand in a batch file or on the command line of SLURM: no quote, blank or newline ever does.
SlurmWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:,&|*=/@-]{0,127}$")]


class SlurmCluster(ClusterSettings):
    """Jobs of SLURM, as arrays, submitted with submitit.

    Attributes:
        partition, account, qos, constraint: as SLURM's options (`None`: its default).
        time: limit of a trial in minutes, between two requeueings.
        nodes: of each trial; with more than one, its processes train together.
        gpus_per_node: of each trial; on each node one process for each (`None`: CPUs alone).
        processes_per_node: of each trial where `gpus_per_node` is not set.
        cpus_per_task: cores of each trial on each node.
        mem_gb: memory of each trial on each node, in GB (`None`: SLURM's default).
        array_parallelism: trials of one array that run at a time; the trials of one baseline make an array.
        queue_limit: jobs of this sweep in the queue at a time (`None`: as many as SLURM takes).
        signal_seconds: how long before the time limit a trial is told to save.
        setup: lines of shell that each job runs first (`module load ...`).
    """

    name: str = "slurm"
    partition: SlurmWord | None = None
    account: SlurmWord | None = None
    qos: SlurmWord | None = None
    constraint: SlurmWord | None = None
    time: PositiveInt = 60
    nodes: PositiveInt = 1
    gpus_per_node: PositiveInt | None = None
    processes_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 1
    mem_gb: PositiveInt | None = None
    array_parallelism: PositiveInt = 256
    queue_limit: PositiveInt | None = None
    signal_seconds: PositiveInt = 90
    setup: tuple[str, ...] = ()
