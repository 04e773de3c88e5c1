"""The processes of a run: which one this is, and starting the others."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment


@dataclass(frozen=True)
class Place:
    """This process among those of its run; by default the only one.

    Attributes:
        rank: number of this process among all.
        world_size: all processes.
        local_world_size: processes on this node.
        nodes: nodes of the run.
    """

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    nodes: int = 1

    def environment(self) -> ClusterEnvironment:
        """Return what tells Lightning about the processes, so that it guesses nothing (e.g. from SLURM)."""
        return TorchElasticEnvironment() if self.world_size > 1 else LightningEnvironment()


def place_from_environment() -> Place:
    """Return the place that `torchrun` gave this process."""
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    return Place(int(os.environ["RANK"]), world, local, world // local)


def node_from_environment() -> int:
    """Return the number of this node among those of the run, as `torchrun` gave it."""
    return int(os.environ["GROUP_RANK"])
