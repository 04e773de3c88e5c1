"""Metrics of each epoch: summed over batches, reduced over processes, written as rows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from ternlab.runs.metrics import MetricsTable
from ternlab.training.callbacks.order import Stage
from ternlab.training.metric_sums import MetricSums

_KEY = "ternlab_epoch_sums"
_MEANS = "ternlab_epoch_means"

# Called at the end of each epoch; returns additional metrics of the epoch, by name.
Source = Callable[[pl.Trainer, pl.LightningModule], dict[str, float]]


class EpochMetrics(Callback):
    """Computes the loss and the metrics of training, validation and test.

    Training metrics are measured on the training batches, each before its step. Rows go to `metrics.csv`; a resumed
    run deletes the rows after its checkpoint.

    Args:
        table: where the rows go; `None` on all processes but the first.
        sources: functions that return additional metrics of each epoch.
        declared: names of the means that training steps may return in addition to the loss (`means`).
    """

    stage = Stage.COUNTING

    def __init__(
        self, table: MetricsTable | None, sources: tuple[Source, ...] = (), declared: Collection[str] = ()
    ) -> None:
        self._table = table
        self._sources = sources
        self._declared = frozenset(declared)
        self._train, self._validation, self._test = MetricSums(), MetricSums(), MetricSums()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the sums of the current epoch, over all processes."""
        sums, join = self._train.sums, _join(trainer)
        checkpoint[_KEY] = join(sums.clone()) if join and sums is not None else sums
        checkpoint[_MEANS] = list(self._train.means)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the sums; the first process takes the total of all processes."""
        sums = checkpoint[_KEY] if trainer.is_global_zero else None
        self._train.restore(sums, checkpoint.get(_MEANS, ()))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Delete the rows after the checkpoint."""
        if self._table is not None:
            self._table.keep_until(trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch; with two passes, the pass that stepped the weights."""
        means: dict[str, Tensor] = outputs["means"]
        if not self._declared.issuperset(means):
            raise ValueError(
                f"The training logs {sorted(set(means) - self._declared)}, but its algorithm only declares the metrics "
                f"{sorted(self._declared)}: add them to `metrics` in register_algorithm."
            )
        self._train.add(outputs["mean_loss"], outputs["logits"], batch[1], means)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *index: int
    ) -> None:
        """Count a batch."""
        self._validation.add(outputs["mean_loss"], outputs["logits"], batch[1])

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *index: int
    ) -> None:
        """Count a batch."""
        self._test.add(outputs["mean_loss"], outputs["logits"], batch[1])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row of the epoch."""
        metrics = {
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            **self._train.result("train", _join(trainer)),
            **self._validation.result("val", _join(trainer)),
            **{name: value for source in self._sources for name, value in source(trainer, pl_module).items()},
        }
        trainer.callback_metrics.update(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
        )
        if self._table is not None:
            self._table.add({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})

    def results(self, trainer: pl.Trainer, prefix: str) -> dict[str, float]:
        """Return the metrics of the validation or test that has just run, as `{prefix}/...`."""
        sums = self._test if prefix == "test" else self._validation
        return sums.result(prefix, _join(trainer))


def _join(trainer: pl.Trainer) -> Any:
    def summed(sums: Tensor) -> Tensor:
        joined: Tensor = trainer.strategy.reduce(sums, reduce_op="sum")
        return joined

    return summed if trainer.world_size > 1 else None
