"""Classification accuracy, as sums over the images of a batch."""

from __future__ import annotations

from torch import Tensor

from ternlab.metrics.batch import Batch


def top1(batch: Batch) -> Tensor:
    """Return the number of images whose most probable class is correct."""
    return batch.hits[:, 0].sum()


def top5(batch: Batch) -> Tensor:
    """Return the number of images whose correct class is among the five most probable (or all, if there are fewer)."""
    return batch.hits.sum()
