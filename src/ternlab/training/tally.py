"""Counting loss and hits over batches, exactly and without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Tally:
    """Sums of loss, top-1 hits, top-5 hits, images and further means, in float64 on the device of the logits.

    The sums are kept in a tensor, so that a batch does not wait for the device, several processes are
    joined by one addition, and a checkpoint can hold them.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self._names: tuple[str, ...] = ()

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, means: Mapping[str, Tensor] | None = None) -> None:
        """Count one batch.

        Args:
            loss: mean over the batch, no dimensions.
            logits: (images, classes); with fewer than five classes, top-5 counts all of them.
            labels: (images,), class numbers.
            means: further means over the batch by their names, no dimensions; the same names at each call.
        """
        means = means or {}
        self._names = tuple(means)
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        count = labels.shape[0]
        batch = torch.stack([loss.double() * count, hits[:, 0].sum().double(), hits.sum().double()])
        batch = torch.cat([batch, batch.new_full((1,), count)])
        if means:
            batch = torch.cat([batch, torch.stack([value.double() * count for value in means.values()])])
        self.sums = batch if self.sums is None else self.sums.to(batch.device) + batch

    def result(self, prefix: str, join: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Return `{prefix}/loss`, `/top1` and `/top5` (percent), further means by their names, and start anew.

        Nothing is returned if nothing was counted.

        Args:
            join: adds the sums of all processes.
        """
        if self.sums is None:
            return {}
        sums = join(self.sums) if join else self.sums
        self.sums = None
        loss, top1, top5, count, *further = sums.tolist()
        return {
            f"{prefix}/loss": loss / count,
            f"{prefix}/top1": 100 * top1 / count,
            f"{prefix}/top5": 100 * top5 / count,
            **{name: value / count for name, value in zip(self._names, further, strict=True)},
        }
