"""Metrics of every epoch: counted over batches, joined over processes, written as rows."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from ternlab.runs.metrics import MetricsTable
from ternlab.training.tally import Tally

_KEY = "ternlab_epoch_sums"


class EpochMetrics(Callback):
    """Counts the loss and the metrics of training, validation and test.

    Training's are those of the batches as they were trained on, each before its step. Rows go to
    `metrics.csv`; a run that resumes takes back rows from after its checkpoint.

    Args:
        table: where the rows go; `None` on all but the first process.
    """

    def __init__(self, table: MetricsTable | None) -> None:
        self._table = table
        self._train, self._validation, self._test = Tally(), Tally(), Tally()
        self.extra: dict[str, float] = {}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the sums of the epoch in progress, of all processes together."""
        sums, join = self._train.sums, _join(trainer)
        checkpoint[_KEY] = join(sums.clone()) if join and sums is not None else sums

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with those sums; the first process takes the share of all."""
        self._train.restore(checkpoint[_KEY] if trainer.is_global_zero else None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take back the rows from after the checkpoint."""
        if self._table is not None:
            self._table.keep_until(trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch; with two passes, the one that stepped the weights."""
        self._train.add(outputs["mean_loss"], outputs["logits"], batch[1])

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
            **self.extra,
        }
        trainer.callback_metrics.update(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
        )
        if self._table is not None:
            self._table.add({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})

    def results(self, trainer: pl.Trainer, prefix: str) -> dict[str, float]:
        """Return what was counted by the validation or the test that has just run, as `{prefix}/...`."""
        tally = self._test if prefix == "test" else self._validation
        return tally.result(prefix, _join(trainer))


def _join(trainer: pl.Trainer) -> Any:
    def summed(sums: Tensor) -> Tensor:
        joined: Tensor = trainer.strategy.reduce(sums, reduce_op="sum")
        return joined

    return summed if trainer.world_size > 1 else None
