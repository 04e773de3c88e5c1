"""Saves checkpoints, and stops the run when asked to."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from ternlab.core.errors import DivergedError, RunInterrupted
from ternlab.core.signals import StopRequest
from ternlab.runs.checkpoint_files import checkpoint_file
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.callbacks.order import Stage
from ternlab.training.checkpoints import KEY, prune
from ternlab.training.resume import recipe_of


class Saving(Callback):
    """Saves a checkpoint at the end of every epoch, every `every_steps` steps, and when a signal asks to stop.

    It is the last callback, so that a checkpoint includes what the others have counted for the batch.
    """

    stage = Stage.SAVING

    def __init__(self, directory: RunDirectory, settings: Settings, stop: StopRequest) -> None:
        self._directory = directory
        self._settings = settings.checkpoint
        self._recipe = recipe_of(settings)
        self._stop = stop
        self._saved_step = -1
        self._next_batch = 0

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store in the checkpoint its run and its position in training; `batch` is the next batch."""
        checkpoint[KEY] = {
            "run_id": self._directory.run_id,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "batch": self._next_batch,
            "precision": str(trainer.precision),
            **self._recipe,
        }

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reinstall the signal handlers; Lightning replaces the SIGTERM handler at every fit, validate and test."""
        self._stop.listen_again()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reinstall the signal handlers."""
        self._stop.listen_again()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reinstall the signal handlers; remember the step of a resumed run, so that it is not saved twice.

        Raises:
            RuntimeError: another callback would run after this one.
        """
        if trainer.callbacks[-1] is not self:  # type: ignore[attr-defined]
            last = type(trainer.callbacks[-1]).__name__  # type: ignore[attr-defined]
            raise RuntimeError(f"Saving must be the last callback, but {last} runs after it.")
        self._stop.listen_again()
        self._saved_step = trainer.global_step if trainer.ckpt_path else -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if this step is due; the last batch of an epoch is saved with the epoch."""
        if batch_idx + 1 == trainer.num_training_batches or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        asked = self._asked(trainer)
        every = self._settings.every_steps
        if asked or (every and trainer.global_step % every == 0):
            self._save(trainer, next_batch=batch_idx + 1)
        if asked:
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of the epoch; a network that is no longer finite is not saved."""
        metrics: Mapping[str, Any] = trainer.callback_metrics
        if any(not math.isfinite(float(value)) for name, value in metrics.items() if name.endswith("/loss")):
            raise DivergedError(
                f"A loss is no longer finite at the end of epoch {trainer.current_epoch}.\n"
                "  instead: trainer.gradient_clip_val=1.0, or a smaller optim.lr (the last good checkpoint is kept)"
            )
        self._save(trainer, next_batch=0)
        if self._asked(trainer) and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._leave(trainer)

    def _asked(self, trainer: pl.Trainer) -> bool:
        asked = self._stop.signal is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        return asked

    def _save(self, trainer: pl.Trainer, *, next_batch: int) -> None:
        if trainer.global_step == self._saved_step:
            return
        stop_unless_finite(trainer)
        self._next_batch = next_batch
        trainer.save_checkpoint(checkpoint_file(self._directory.checkpoints, trainer.global_step))
        self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            prune(self._directory.checkpoints, self._settings.keep)

    def _leave(self, trainer: pl.Trainer) -> None:
        name = self._stop.signal or "a signal to another process"
        raise RunInterrupted(
            f"Stopped by {name} after step {trainer.global_step} (epoch {trainer.current_epoch}) at "
            f"{time.strftime('%H:%M:%S')}; the state is saved.\n"
            "  instead: re-run the same command (without force=true) to resume"
        )


def stop_unless_finite(trainer: pl.Trainer) -> None:
    """Raise DivergedError if a parameter is not finite: such a state is neither saved nor tested.

    The loss can still be finite just before the step that breaks the network.
    """
    assert trainer.model is not None
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trainer.model.parameters()):
        raise DivergedError(
            f"A weight is no longer finite after step {trainer.global_step}.\n"
            "  instead: trainer.gradient_clip_val=1.0, or a smaller optim.lr (the last good checkpoint is kept)"
        )
