"""Training curves of a few runs, thinned out if there are more epochs than a chart can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ternlab.metrics.registry import TRAIN, VAL
from ternlab.reports.load_runs import Run
from ternlab.reports.seed_groups import Group
from ternlab.runs.metrics import read_table

MOST_EPOCHS = 120
CURVES = (VAL, TRAIN, "val/loss", "train/loss")
LAYER_COLUMNS = ("sparsity", "threshold", "scale", "d", "sigma", "mean")

Row = dict[str, Any]


def best_runs(groups: Sequence[Group], runs: Iterable[Run], most: int) -> list[Run]:
    """Return up to `most` runs to look at closely: the best groups' first seeds, then their second ones, and so on.

    Unfinished runs follow, so that a sweep that has just started is not empty.
    """
    ranked = sorted(groups, key=lambda group: (-(group.choice.mean or -math.inf), group.degradation.mean))
    longest = max((len(group.runs) for group in ranked), default=0)
    # In turns: ten seeds of one setting must not hide all others.
    finished = [group.runs[turn] for turn in range(longest) for group in ranked if turn < len(group.runs)]
    begun = [run for run in runs if run.quantized and not run.finished and run.state != "waiting"]
    return [*finished, *begun][:most]


def curve_rows(run: Run, role: str) -> list[Row]:
    """Return a row for each epoch that is shown: `run`, `role`, `epoch` (the first is 1), and the curves.

    Args:
        run: whose `metrics.csv` is read; `[]` when it has none.
        role: `quantized` or `baseline`.
    """
    table = _table(run.path / "metrics.csv")
    rows = []
    for row in _thinned(table, MOST_EPOCHS):
        values = {name: number(row.get(name)) for name in CURVES}
        rows.append({"run": run.run_id, "role": role, "epoch": int(row["epoch"]) + 1, **values})
    return rows


def layer_rows(run: Run) -> list[Row]:
    """Return a row for each layer and epoch that is shown: `run`, `layer`, `place` (0, 1, ... in the network), ..."""
    table = _table(run.path / "layers.csv")
    places = {name: place for place, name in enumerate(dict.fromkeys(row["layer"] for row in table))}
    epochs = sorted({int(row["epoch"]) for row in table})
    kept = set(_thinned(epochs, MOST_EPOCHS))
    rows = []
    for row in table:
        if int(row["epoch"]) in kept:
            values = {name: number(row.get(name)) for name in LAYER_COLUMNS}
            place = {"layer": row["layer"], "place": places[row["layer"]], "epoch": int(row["epoch"]) + 1}
            rows.append({"run": run.run_id, **place, **values})
    return rows


def last_layers(run: Run) -> dict[str, dict[str, str]]:
    """Return the newest row of each layer in `layers.csv`, as text by column."""
    return {row["layer"]: row for row in _table(run.path / "layers.csv")}


def number(text: Any) -> float | None:
    """Return a cell of a table as a finite number, `None` for an empty one."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _table(path: Path) -> list[dict[str, Any]]:
    """Return the rows that have an epoch; a run that is writing just now, or was tidied away, has fewer or none."""
    try:
        return [row for row in read_table(path) if str(row.get("epoch") or "").isdigit()]
    except (OSError, ValueError):
        return []


def _thinned(rows: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of the rows, evenly, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    step = (len(rows) - 1) / (most - 1)
    return [rows[round(place * step)] for place in range(most)]
