"""The state of each run of a sweep, read from its directory; works from any terminal and needs no server."""

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

# Exit codes of a sweep: some trials are not finished; SLURM or Ray has failed.
SOME_FAILED = 3
INFRASTRUCTURE = 4


class State(StrEnum):
    """The state of a run of a sweep."""

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
    """One run, as read from its directory.

    Attributes:
        run_id: ID of the run.
        state: `stopped` is a run that was started and that no process holds now; it resumes from its last checkpoint.
            `pruned` is a run that a search has stopped early and does not resume.
        record: `None` before the run has started.
        epoch: finished epochs.
        epochs: epochs of the whole run; 0 if unknown.
        last: the latest row of its metrics, empty before the end of the first epoch.
    """

    run_id: str
    state: State
    record: Record | None
    epoch: int
    epochs: int
    last: dict[str, str]


def standing(runs: str | Path, run_id: str, pruned: Collection[str] = ()) -> Standing:
    """Read the state of a run from its directory.

    Args:
        runs: folder of the runs.
        run_id: ID of the run.
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
        # This holds whoever has the lock now (the exiting process, an export).
        return _FINAL[status]
    if directory.lock().held():
        return State.RUNNING
    if record is None:
        return State.WAITING
    # A run that is `running` without a process was killed.
    return State.FAILED if status == Status.FAILED else State.STOPPED


def _last_row(directory: RunDirectory) -> dict[str, str]:
    try:
        with directory.metrics_file.open(newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except OSError:
        return {}
    return {str(key): value or "" for key, value in rows[-1].items()} if rows else {}
