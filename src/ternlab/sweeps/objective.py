"""The objective of settings: the mean of a validation metric over their seeds, read from the run directories."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from ternlab.core.errors import StorageError
from ternlab.core.statistics import summary
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import read_table

# Indexed by finished epochs: the first row is epoch 1.
ByEpoch = dict[int, float]


class Objective:
    """Reads a metric of runs; a file is read again only if it has changed.

    Args:
        runs: folder of the runs.
        metric: name of the metric in `metrics.csv` and in the records.
    """

    def __init__(self, runs: Path, metric: str) -> None:
        self._runs, self._metric = runs.resolve(), metric
        self._read: dict[str, tuple[tuple[int, int], ByEpoch]] = {}

    def final(self, runs: Iterable[str]) -> float | None:
        """Return the mean over finished runs; `None` if one has no finite value."""
        values = [self._final(run) for run in runs]
        found = [value for value in values if value is not None]
        return summary(found).mean if len(found) == len(values) else None

    def by_epoch(self, runs: Iterable[str]) -> ByEpoch:
        """Return the mean over runs for each epoch that all of them have finished."""
        return mean_by_epoch([self._by_epoch(run) for run in runs])

    def _final(self, run: str) -> float | None:
        try:
            record = RunDirectory(self._runs / run).record() or {}
        except StorageError:
            return None
        return _finite((record.get("metrics") or {}).get(self._metric))

    def _by_epoch(self, run: str) -> ByEpoch:
        path = RunDirectory(self._runs / run).metrics_file
        try:
            found = path.stat()
        except OSError:
            return {}
        mark = (found.st_mtime_ns, found.st_size)
        if run not in self._read or self._read[run][0] != mark:
            values = {int(row["epoch"]) + 1: _finite(row.get(self._metric)) for row in read_table(path)}
            self._read[run] = mark, {epoch: value for epoch, value in values.items() if value is not None}
        return self._read[run][1]


def mean_by_epoch(runs: list[ByEpoch]) -> ByEpoch:
    """Return the mean for each epoch that all runs have."""
    shared = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    means = {epoch: summary([run[epoch] for run in runs]).mean for epoch in shared}
    return {epoch: mean for epoch, mean in means.items() if mean is not None}


def _finite(value: str | float | None) -> float | None:
    if value is None or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
