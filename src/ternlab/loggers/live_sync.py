"""A thread that copies a run to its mirror while it trains; training waits for it only at the end, and only briefly."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Mapping

from ternlab.core.registry import imported
from ternlab.loggers.history import history_of
from ternlab.loggers.mirror import Mirror
from ternlab.loggers.registry import LOGGERS
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings

_log = logging.getLogger(__name__)
# Time for the rest after training has ended: opening, sending, and checking that everything has arrived.
_CLOSE_SECONDS = 20.0


class LiveSync:
    """Copies the rows of a run's files to the mirror that `logger` selects.

    On an error it logs one warning and sends nothing more; `ternlab sync`, or `ternlab wandb sync`, completes the run.

    Args:
        settings: settings of the run.
        directory: the run directory; rows from after its checkpoint are already removed.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        self._entry = LOGGERS.entry(settings.logger.name)
        # Imported here, since a process that is forked while a thread imports can hang.
        for package in self._entry.packages:
            importlib.import_module(package)
        self._open = imported(str(self._entry.mirror))
        self._settings = settings
        self._directory = directory
        self._metrics: Mapping[str, float | None] = {}
        self._failed = False
        self._wake, self._ended = threading.Event(), threading.Event()
        self._warned = threading.Lock()
        self._thread = threading.Thread(target=self._guarded, name=settings.logger.name, daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Signal that the files have a new row; returns at once."""
        self._wake.set()

    def close(self, metrics: Mapping[str, float], *, failed: bool) -> None:
        """Send the results, and wait some seconds for everything to be sent."""
        self._metrics, self._failed = metrics, failed
        self._ended.set()
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            self._warn(f"no response {_CLOSE_SECONDS:.0f} s after the end of training")

    def _follow(self) -> None:
        mirror: Mirror = self._open(self._settings, self._directory)
        while not self._ended.is_set():
            mirror.send(history_of(self._directory, mirror.sent))
            self._wake.wait()
            self._wake.clear()
        mirror.send(history_of(self._directory, mirror.sent))
        mirror.finish(self._metrics, failed=self._failed)

    def _guarded(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whatever the mirror raises, the run must continue
            self._warn(" ".join(str(error).split()) or type(error).__name__)

    def _warn(self, reason: str) -> None:
        if self._warned.acquire(blocking=False):
            _log.warning(
                "%s does not have all data of this run (%s). The run's own files are complete. To send it later:\n"
                "  %s %s --runs %s",
                self._entry.title,
                reason,
                self._entry.later,
                self._directory.run_id,
                self._directory.path.parent,
            )
