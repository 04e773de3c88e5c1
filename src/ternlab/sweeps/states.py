"""Where each run of a sweep stands, told from its folder: any terminal can look, no server is asked."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ternlab.core.errors import StorageError
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.record import Record, Status

# Exit codes of a sweep: some trials are not finished; what carries them out has failed.
SOME_FAILED = 3
INFRASTRUCTURE = 4


class State(StrEnum):
    """What a run of a sweep is doing."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    PRUNED = "pruned"
    FINISHED = "finished"
    FAILED = "failed"
    DIVERGED = "diverged"


_FINAL: dict[str | None, State] = {Status.FINISHED: State.FINISHED, Status.DIVERGED: State.DIVERGED}


@dataclass(frozen=True)
class Standing:
    """One run as its folder shows it.

    Attributes:
        run_id: of the run.
        state: `stopped` is a run that was begun and that no process holds now; it goes on from its last checkpoint.
            `pruned` is one that a search has stopped early, and that it does not go on with.
        record: `None` before it was begun.
        epoch: finished epochs.
        epochs: of the whole run; 0 when it is not known.
        last: the newest row of its metrics, empty before the first epoch's end.
    """

    run_id: str
    state: State
    record: Record | None
    epoch: int
    epochs: int
    last: dict[str, str]


def standing(runs: str | Path, run_id: str, pruned: Collection[str] = ()) -> Standing:
    """Look at the folder of a run.

    Args:
        runs: folder of the runs.
        run_id: of the run.
        pruned: the runs that a search has stopped early (`Plan.pruned`).
    """
    directory = run_directory(runs, run_id)
    try:
        record = directory.record()
    except StorageError:
        record = None
    last = _last_row(directory)
    epoch = int(last["epoch"]) + 1 if last.get("epoch", "").isdigit() else 0
    state = _state(directory, record)
    if run_id in pruned and state in (State.WAITING, State.STOPPED, State.FAILED):
        state = State.PRUNED
    return Standing(run_id, state, record, epoch, (record or {}).get("epochs") or 0, last)


def _state(directory: RunDirectory, record: Record | None) -> State:
    status = (record or {}).get("status")
    if status in _FINAL:
        # Whoever holds the lock now (the process that leaves, an export) changes nothing of that.
        return _FINAL[status]
    if directory.lock().held():
        return State.RUNNING
    if record is None:
        return State.WAITING
    # `running` without a process is a run that was killed.
    return State.FAILED if status == Status.FAILED else State.STOPPED


def _last_row(directory: RunDirectory) -> dict[str, str]:
    try:
        with directory.metrics_file.open(newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except OSError:
        return {}
    return {str(key): value or "" for key, value in rows[-1].items()} if rows else {}
