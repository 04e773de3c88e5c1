"""Copies of a run's metrics elsewhere; the run's own files are authoritative, so a mirror may fail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ternlab.core.registry import imported
from ternlab.loggers.registry import LOGGERS
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings

# Loggers are in a higher layer than training, so this is imported only on request.
_LIVE_SYNC = "ternlab.loggers.live_sync:LiveSync"

_log = logging.getLogger(__name__)


def build_mirrors(settings: Settings, directory: RunDirectory) -> tuple[LiveMirror, ...]:
    """Return the mirrors selected by `logger`."""
    return (LiveMirror(settings, directory),) if LOGGERS.entry(settings.logger.name).mirror else ()


class LiveMirror(Callback):
    """Mirrors a run from its own files while it trains (see `ternlab.loggers.live_sync`); never raises."""

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        self._settings = settings
        self._directory = directory
        self._live_sync: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the mirror; the rows after the checkpoint have already been deleted."""
        self._open()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass on the rows of the epoch and of its layers, which are already in the run's files."""
        if self._live_sync is not None:
            self._live_sync.notify()

    def close(self, summary: Mapping[str, float], exit_code: int) -> None:
        """Pass on the results, and wait a few seconds until everything is sent."""
        if self._live_sync is None and exit_code == 0:
            # Nothing was trained: a run of zero epochs, or one that was stopped after its last epoch.
            self._open()
        if self._live_sync is not None:
            self._live_sync.close(summary, failed=exit_code != 0)

    def _open(self) -> None:
        try:
            self._live_sync = imported(_LIVE_SYNC)(self._settings, self._directory)
        except Exception as error:  # noqa: BLE001 - a broken installation must not end the run either
            title = LOGGERS.entry(self._settings.logger.name).title
            _log.warning("Not logging to %s (%s); the run's own files are complete.", title, error)
