"""One cluster for all tests with a real SLURM."""

from __future__ import annotations

from tests.slurm.cluster import cluster

__all__ = ["cluster"]
