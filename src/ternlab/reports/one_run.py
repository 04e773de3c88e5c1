"""Everything in the directory of one run, finished or not."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ternlab.reports.run_rows import Flat, flat_config
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import read_table
from ternlab.runs.record import Record, Status
from ternlab.sweeps.states import State

_TEXT = "layer"


@dataclass(frozen=True)
class OneRun:
    """One run, as read from its files; missing or unreadable parts are empty.

    Attributes:
        run_id: ID of the run.
        path: its folder.
        status: status of the record; `stopped` if the record says `running` but no process holds the run.
        record: see docs/interface.md.
        settings: by dotted names.
        epochs: a row for each finished epoch, by the names of the metrics.
        layers: a row for each quantized layer at the end of the last epoch.
    """

    run_id: str
    path: Path
    status: str
    record: Record
    settings: Flat
    epochs: list[dict[str, float | None]]
    layers: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the record."""
        return _numbers(self.record.get("metrics"))

    @property
    def baseline(self) -> dict[str, float]:
        """Metrics of the full-precision baseline at the time this run finished."""
        baseline = self.record.get("baseline")
        return _numbers(baseline.get("metrics")) if isinstance(baseline, dict) else {}

    @property
    def layer_faults(self) -> list[dict[str, Any]]:
        """Layers that could not learn: `layer`, `epoch`, `step` and `fault`."""
        facts = self.record.get("facts")
        found = facts.get("layer_faults") if isinstance(facts, dict) else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def again(self) -> list[str]:
        """Return the commands that reproduce this run: as typed, and from its frozen settings."""
        typed = self.record.get("command")
        return [*([typed] if typed else []), RunDirectory(self.path).command()]


def one_run(directory: RunDirectory) -> OneRun:
    """Read a run directory.

    Raises:
        StorageError: its record is not readable.
    """
    record = directory.record() or {}
    status = str(record.get("status"))
    if status == Status.RUNNING and not directory.lock().held():
        status = State.STOPPED
    try:
        settings = flat_config(directory.config_file)
    except (OSError, ValueError):
        settings = {}
    rows = _table(directory.layers_file)
    last = [row for row in rows if row.get("epoch") == rows[-1].get("epoch")]
    epochs = [{name: _number(text) for name, text in row.items()} for row in _table(directory.metrics_file)]
    layers = [{name: text if name == _TEXT else _number(text) for name, text in row.items()} for row in last]
    return OneRun(directory.run_id, directory.path, str(status), record, settings, epochs, layers)


def _table(path: Path) -> list[dict[str, str]]:
    try:
        rows = read_table(path)
    except (OSError, ValueError, csv.Error):
        return []
    return [{str(name): text for name, text in row.items() if isinstance(text, str)} for row in rows]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        return {}
    return {
        name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
