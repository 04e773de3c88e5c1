"""What metrics are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

_RANKS = 5


@dataclass(frozen=True)
class Batch:
    """The outputs of a network for a batch of images.

    Attributes:
        logits: (images, classes).
        labels: (images,), class numbers.
    """

    logits: Tensor
    labels: Tensor

    @cached_property
    def hits(self) -> Tensor:
        """Whether the class at each rank is the right one: bool (images, ranks), the most probable class first.

        There are five ranks; with fewer classes, as many as there are classes.
        """
        ranks = min(_RANKS, self.logits.shape[1])
        return self.logits.topk(ranks, dim=1).indices == self.labels[:, None]
