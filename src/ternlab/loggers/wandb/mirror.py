"""The mirror of a run at W&B: online with a key, offline without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ternlab.loggers.history import history_of, summary_of
from ternlab.loggers.options import wandb_settings
from ternlab.loggers.wandb.account import wandb_mode
from ternlab.loggers.wandb.run_payload import run_payload
from ternlab.loggers.wandb.server import Server
from ternlab.loggers.wandb.writer import RunWriter
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row
from ternlab.settings.root import Settings


class WandbMirror:
    """A run at W&B; see `ternlab.loggers.mirror.Mirror`.

    The W&B run has the same ID as the run, so a resumed run continues in the same W&B run.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        self._directory = directory
        self._payload = run_payload(settings, directory)
        mode = wandb_mode(wandb_settings(settings.logger))
        self._server = Server() if mode == "online" else None
        self._wandb_id = self._payload.run_id
        if self._server is not None:
            self._wandb_id, _ = self._server.place(self._payload, history_of(directory))
        self._writer = RunWriter(self._payload, mode, directory.path, self._wandb_id)
        self.sent = self._writer.sent

    def send(self, rows: Sequence[Row]) -> None:
        """Send the rows that have not been sent yet."""
        self._writer.send(rows)
        self.sent = self._writer.sent

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Send the results, and check that everything has arrived."""
        self._writer.finish(metrics, failed=failed)
        if self._server is None:
            return
        # W&B silently drops rows that the server rejects.
        there = self._server.look(self._payload, self._wandb_id)
        if there is None or not there.is_whole(history_of(self._directory), summary_of(metrics)):
            raise RuntimeError("some of the data sent did not arrive")
