"""Progress of a run: a bar on a terminal, otherwise one line per epoch."""

from __future__ import annotations

import logging
import math
import sys
import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

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


class TimeLeft(ProgressColumn):
    """The time left for this training, and for the whole command if other trainings follow.

    The epochs of the others are assumed to take as long as those of this one. The task has a field `later`: how many
    batches of this training the others amount to.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Return `0:01:10 left`, or `0:01:10 left, 0:03:30 with the next run`."""
        if not task.speed or task.total is None:
            return Text("-:--:-- left", style="progress.remaining")
        own = task.total - task.completed
        text = f"{_clock(own / task.speed)} left"
        if task.fields.get("later"):
            text += f", about {_clock((own + task.fields['later']) / task.speed)} with the runs after it"
        return Text(text, style="progress.remaining")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=math.ceil(seconds)))


class Bar(Callback):
    """Draws a progress bar over batches; the epoch lines stay above it.

    Args:
        later_epochs: epochs of the trainings that the command does after this one.
    """

    def __init__(self, later_epochs: int = 0) -> None:
        self._later_epochs = later_epochs
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeLeft(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start drawing."""
        done = trainer.fit_loop.total_batch_idx + 1
        batches = int(trainer.num_training_batches)
        total, later = batches * (trainer.max_epochs or 0), batches * self._later_epochs
        self._task = self._progress.add_task("training", total=total, completed=done, later=later)
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


def progress_callbacks(settings: TrainerSettings, later_epochs: int = 0) -> list[Callback]:
    """Return the callbacks that show the progress of a run; for the argument see `Bar`."""
    return [Bar(later_epochs), Lines()] if shows_bar(settings) else [Lines()]
