"""Accuracy: sums over the images of a batch."""

from __future__ import annotations

from torch import Tensor

from ternlab.metrics.batch import Batch


def top1(batch: Batch) -> Tensor:
    """Return how many images have their most probable class right."""
    return batch.hits[:, 0].sum()


def top5(batch: Batch) -> Tensor:
    """Return how many images have the right class among the five most probable ones; all of fewer classes."""
    return batch.hits.sum()
