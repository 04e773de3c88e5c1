"""The input of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

_RANKS = 5


@dataclass(frozen=True)
class Batch:
    """A network's output for a batch of images.

    Attributes:
        logits: (images, classes).
        labels: (images,), class indices.
    """

    logits: Tensor
    labels: Tensor

    @cached_property
    def hits(self) -> Tensor:
        """Whether the class at each rank is correct: bool (images, ranks), most probable class first.

        There are five ranks, or as many as there are classes if fewer.
        """
        ranks = min(_RANKS, self.logits.shape[1])
        return self.logits.topk(ranks, dim=1).indices == self.labels[:, None]
