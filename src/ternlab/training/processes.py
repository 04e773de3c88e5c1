"""The processes of a run, and the place of this process among them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment


@dataclass(frozen=True)
class Place:
    """The place of this process among those of its run; by default it is the only one.

    Attributes:
        rank: global rank of this process.
        world_size: number of processes in total.
        local_world_size: number of processes on this node.
        nodes: number of nodes of the run.
    """

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    nodes: int = 1

    def environment(self) -> ClusterEnvironment:
        """Return Lightning's description of the processes, so that it does not guess (e.g. from SLURM)."""
        return TorchElasticEnvironment() if self.world_size > 1 else LightningEnvironment()


def place_from_environment() -> Place:
    """Return the place that `torchrun` assigned to this process."""
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    return Place(int(os.environ["RANK"]), world, local, world // local)


def node_from_environment() -> int:
    """Return the rank of this node in the run, as assigned by `torchrun`."""
    return int(os.environ["GROUP_RANK"])
