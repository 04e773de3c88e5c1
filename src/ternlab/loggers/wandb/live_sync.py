"""A thread that copies a run to W&B while it trains; training waits for it only at the end, and only briefly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from ternlab.loggers.wandb.account import wandb_mode
from ternlab.loggers.wandb.run_payload import run_payload, history_of, summary_of
from ternlab.loggers.wandb.writer import RunWriter
from ternlab.loggers.wandb.server import Server
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings

_log = logging.getLogger(__name__)
# Time for the rest after training has ended: opening, sending, and checking that everything has arrived.
_CLOSE_SECONDS = 20.0


class LiveSync:
    """Copies the rows of a run's files to W&B: online with a key, offline without.

    On an error it logs one warning and sends nothing more; `ternlab wandb sync` completes the run.

    Args:
        settings: settings of the run.
        directory: the run directory; rows from after its checkpoint are already removed.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        # Imported here, since a process that is forked while a thread imports can hang.
        import wandb  # noqa: F401

        self._settings = settings
        self._directory = directory
        self._metrics: Mapping[str, float | None] = {}
        self._failed = False
        self._wake, self._ended = threading.Event(), threading.Event()
        self._warned = threading.Lock()
        self._thread = threading.Thread(target=self._guarded(self._follow), name="wandb", daemon=True)
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
        mode = wandb_mode(self._settings.logger)
        payload = run_payload(self._settings, self._directory)
        server = Server() if mode == "online" else None
        wandb_id = payload.run_id
        if server is not None:
            wandb_id, _ = server.place(payload, history_of(self._directory))
        writer = RunWriter(payload, mode, self._directory.path, wandb_id)
        while not self._ended.is_set():
            writer.send(history_of(self._directory, writer.sent))
            self._wake.wait()
            self._wake.clear()
        history = history_of(self._directory)
        writer.send(history[writer.sent :])
        writer.finish(self._metrics, failed=self._failed)
        if server is not None:
            # W&B silently drops rows that the server rejects.
            there = server.look(payload, wandb_id)
            if there is None or not there.is_whole(history, summary_of(self._metrics)):
                raise RuntimeError("some of the data sent did not arrive")

    def _guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - whatever W&B raises, the run must continue
                self._warn(" ".join(str(error).split()) or type(error).__name__)

        return guarded

    def _warn(self, reason: str) -> None:
        if self._warned.acquire(blocking=False):
            _log.warning(
                "W&B does not have all data of this run (%s). The run's own files are complete. To send it later:\n"
                "  ternlab wandb sync %s --runs %s",
                reason,
                self._directory.run_id,
                self._directory.path.parent,
            )
