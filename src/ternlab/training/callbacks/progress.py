"""Progress of a run: a bar on a terminal, otherwise one line per epoch."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ternlab.metrics.registry import HEADLINE, LOSS, METRICS
from ternlab.settings.trainer import TrainerSettings

_log = logging.getLogger(__name__)


def shows_bar(settings: TrainerSettings) -> bool:
    """Return whether to draw a bar: as set, or if the output is a terminal."""
    return settings.progress == "rich" or (settings.progress == "auto" and sys.stderr.isatty())


class Lines(Callback):
    """Logs one line at the end of each epoch."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the start time."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log losses, accuracies and duration of the epoch."""
        shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
        words = [f"{name} {shown[name]:.{digits}f}" for name, digits in _SHOWN if name in shown]
        seconds = time.monotonic() - self._started
        _log.info("epoch %d/%s  %s  %.1f s", trainer.current_epoch + 1, trainer.max_epochs, "  ".join(words), seconds)


_SHOWN = (
    *((f"{part}/{name}", METRICS[name].digits) for part in ("train", "val") for name in (LOSS, HEADLINE)),
    ("quant/sparsity", 3),
)


class Bar(Callback):
    """Draws a progress bar over batches; the epoch lines stay above it."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start drawing."""
        done = trainer.fit_loop.total_batch_idx + 1
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        self._task = self._progress.add_task("training", total=total, completed=done)
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar."""
        self._progress.update(
            self._task, advance=1, description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop drawing."""
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop drawing."""
        self._progress.stop()


def progress_callbacks(settings: TrainerSettings) -> list[Callback]:
    """Return the callbacks that show the progress of a run."""
    return [Bar(), Lines()] if shows_bar(settings) else [Lines()]
