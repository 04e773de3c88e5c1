"""Settings of the SLURM launcher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ternlab.core.fields import PositiveInt
from ternlab.sweeps.cluster import ClusterSettings

# Characters allowed in a batch script or on a SLURM command line: no quotes, spaces or newlines.
SlurmWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:,&|*=/@-]{0,127}$")]


class SlurmCluster(ClusterSettings):
    """SLURM job arrays, submitted with submitit.

    Attributes:
        partition, account, qos, constraint: as SLURM's options (`None`: its default).
        time: time limit of a trial in minutes, between two requeues.
        nodes: nodes per trial; with more than one, its processes train together.
        gpus_per_node: GPUs per node of each trial, with one process per GPU (`None`: only CPUs).
        processes_per_node: processes per node of each trial if `gpus_per_node` is not set.
        cpus_per_task: cores per node of each trial.
        mem_gb: memory per node of each trial, in GB (`None`: SLURM's default).
        array_parallelism: number of concurrent trials per array; the trials of one baseline form an array.
        queue_limit: maximum number of jobs of this sweep in the queue (`None`: as many as SLURM accepts).
        signal_seconds: how long before the time limit a trial is told to save.
        setup: shell commands that each job runs first (`module load ...`).
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
