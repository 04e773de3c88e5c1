"""Reads what W&B's server has of a run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ternlab.loggers.wandb.client import quiet_wandb
from ternlab.loggers.wandb.run_payload import RunPayload
from ternlab.runs.metrics import Row

_REQUEST_SECONDS = 10


@dataclass(frozen=True)
class There:
    """A run on the server.

    Attributes:
        rows: rows of its history.
        config: the configuration, as sent.
        summary: the last values and the results.
    """

    rows: int
    config: Mapping[str, Any]
    summary: Mapping[str, Any]

    def is_of(self, payload: RunPayload, history: Sequence[Row]) -> bool:
        """Return whether it is a prefix of this history, so that it can be continued.

        It is not if it was made by an earlier run with the same settings (`force=true`), or if rows in between are
        missing: W&B histories are append-only.
        """
        if (self.config.get("run") or {}).get("started") != payload.started:
            return False
        last = self.summary.get("step")
        return last is None or not 0 < self.rows <= len(history) or history[self.rows - 1]["step"] == last

    def is_whole(self, history: Sequence[Row], summary: Mapping[str, float]) -> bool:
        """Return whether it is complete."""
        return self.rows >= len(history) and all(self.summary.get(name) == value for name, value in summary.items())


class Server:
    """Queries W&B's server.

    Raises:
        Exception: whatever W&B raises if it cannot be reached or rejects the key.
    """

    def __init__(self) -> None:
        self._api = quiet_wandb().Api(timeout=_REQUEST_SECONDS)

    def look(self, payload: RunPayload, wandb_id: str) -> There | None:
        """Return the run with this ID in the run's project, `None` if there is none."""
        owner = f"{payload.entity}/" if payload.entity else ""
        self._api.flush()  # otherwise it would answer from its cache
        try:
            found = self._api.run(f"{owner}{payload.project}/{wandb_id}")
        except Exception as error:
            if type(getattr(error, "exc", None)).__name__ == "RunNotFoundError":
                return None
            raise
        return There(int(found.historyLineCount or 0), dict(found.config), dict(found.summary_metrics))

    def place(self, payload: RunPayload, history: Sequence[Row]) -> tuple[str, There | None]:
        """Return the ID under which a run is sent, and the data already there.

        It is the run's ID, with a number appended if that ID holds something else.
        """
        for number in itertools.count(1):
            wandb_id = payload.run_id if number == 1 else f"{payload.run_id}-{number}"
            there = self.look(payload, wandb_id)
            if there is None or there.is_of(payload, history):
                return wandb_id, there
        raise AssertionError
