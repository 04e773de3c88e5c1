"""Sums of loss and metrics over batches, exact and without synchronizing with the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ternlab.core.errors import SettingsError
from ternlab.core.registry import imported
from ternlab.metrics.batch import Batch
from ternlab.metrics.registry import LOSS, counted


class MetricSums:
    """Sums of the loss, of every registered metric, of the image count and of additional means.

    They are float64 on the device of the logits, in this order: loss, metrics, images, means.

    They are kept in one tensor, so that a batch does not synchronize with the device, processes are reduced with one
    addition, and a checkpoint can store them.
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
            loss: mean over the batch, a scalar.
            logits: (images, classes); with fewer than five classes, every image counts for top-5.
            labels: (images,), class indices.
            means: additional scalar means over the batch, by name; the same names in every call.
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
        """Continue from the sums in a checkpoint.

        Args:
            sums: the saved sums; `None` if nothing was counted.
            means: names of the additional means in them.

        Raises:
            SettingsError: the sums are of a different set of metrics.
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
        """Return `{prefix}/loss`, the metrics (e.g. `{prefix}/top1`) and the additional means, and reset the sums.

        The result is empty if nothing was counted.

        Args:
            prefix: `train`, `val` or `test`.
            join: reduces the sums over all processes.
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
