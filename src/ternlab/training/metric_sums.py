"""Counting loss and metrics over batches, exactly and without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ternlab.core.errors import SettingsError
from ternlab.core.registry import imported
from ternlab.metrics.batch import Batch
from ternlab.metrics.registry import LOSS, counted


class MetricSums:
    """Sums of the loss, of every registered metric, of the images and of further means.

    They are in float64 on the device of the logits: loss, metrics, images, means.

    The sums are kept in a tensor, so that a batch does not wait for the device, several processes are
    joined by one addition, and a checkpoint can hold them.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.means: tuple[str, ...] = ()
        entries = counted()
        self._computations: list[Callable[[Batch], Tensor]] = [imported(str(one.compute)) for one in entries.values()]
        self._factors = {name: 100 if entry.unit == "percent" else 1 for name, entry in entries.items()}

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
        self.means = tuple(means)
        outputs = Batch(logits, labels)
        count = labels.shape[0]
        batch = torch.stack([loss.double() * count, *(compute(outputs).double() for compute in self._computations)])
        batch = torch.cat([batch, batch.new_full((1,), count)])
        if means:
            batch = torch.cat([batch, torch.stack([value.double() * count for value in means.values()])])
        self.sums = batch if self.sums is None else self.sums.to(batch.device) + batch

    def restore(self, sums: Tensor | None, means: Sequence[str] = ()) -> None:
        """Go on from sums that a checkpoint holds.

        Args:
            sums: `None` where nothing was counted.
            means: names of the further means among them.

        Raises:
            SettingsError: they are of other metrics.
        """
        metrics = 0 if sums is None else len(sums) - len(means) - 2
        if sums is not None and metrics != len(self._computations):
            raise SettingsError(
                "plugins",
                rule=f"the checkpoint counts {metrics} metrics in addition to the loss, but there are "
                f"{len(self._computations)} now: {', '.join(self._factors)}",
                instead="load the plugins that the run was started with",
            )
        self.sums, self.means = sums, tuple(means)

    def result(self, prefix: str, join: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Return `{prefix}/loss`, the metrics, e.g. `{prefix}/top1`, and further means by their names; start anew.

        Nothing is returned if nothing was counted.

        Args:
            prefix: `train`, `val` or `test`.
            join: adds the sums of all processes.
        """
        if self.sums is None:
            return {}
        sums = join(self.sums) if join else self.sums
        self.sums = None
        loss, *others = sums.tolist()
        metrics, (count, *means) = others[: len(self._factors)], others[len(self._factors) :]
        found = {f"{prefix}/{LOSS}": loss / count}
        for (name, factor), value in zip(self._factors.items(), metrics, strict=True):
            found[f"{prefix}/{name}"] = factor * value / count
        return found | {name: value / count for name, value in zip(self.means, means, strict=True)}
