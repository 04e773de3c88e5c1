"""Counting loss and metrics over batches, exactly and without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ternlab.errors import SettingsError
from ternlab.metrics.batch import Batch
from ternlab.metrics.registry import LOSS, counted
from ternlab.registry import imported


class Tally:
    """Sums of the loss, of every registered metric and of the images, in float64 on the device of the logits.

    The sums are kept in a tensor, so that a batch does not wait for the device, several processes are
    joined by one addition, and a checkpoint can hold them.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        entries = counted()
        self._computations: list[Callable[[Batch], Tensor]] = [imported(str(one.compute)) for one in entries.values()]
        self._factors = {name: 100 if entry.unit == "percent" else 1 for name, entry in entries.items()}

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch.

        Args:
            loss: mean over the batch, no dimensions.
            logits: (images, classes); with fewer than five classes, top-5 counts all of them.
            labels: (images,), class numbers.
        """
        outputs = Batch(logits, labels)
        count = labels.shape[0]
        batch = torch.stack([loss.double() * count, *(compute(outputs).double() for compute in self._computations)])
        batch = torch.cat([batch, batch.new_full((1,), count)])
        self.sums = batch if self.sums is None else self.sums.to(batch.device) + batch

    def restore(self, sums: Tensor | None) -> None:
        """Go on from sums that a checkpoint holds.

        Raises:
            SettingsError: they are of other metrics.
        """
        expected = len(self._computations) + 2
        if sums is not None and len(sums) != expected:
            raise SettingsError(
                "plugins",
                rule=f"the checkpoint has counted {len(sums) - 2} metrics beside the loss, and there are "
                f"{len(self._computations)} now: {', '.join(self._factors)}",
                instead="the plugins that the run was begun with",
            )
        self.sums = sums

    def result(self, prefix: str, join: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Return `{prefix}/loss` and the metrics, e.g. `{prefix}/top1`, and start anew; nothing if nothing was counted.

        Args:
            prefix: `train`, `val` or `test`.
            join: adds the sums of all processes.
        """
        if self.sums is None:
            return {}
        sums = join(self.sums) if join else self.sums
        self.sums = None
        loss, *others, count = sums.tolist()
        found = {f"{prefix}/{LOSS}": loss / count}
        for (name, factor), value in zip(self._factors.items(), others, strict=True):
            found[f"{prefix}/{name}"] = factor * value / count
        return found
