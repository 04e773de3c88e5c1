"""What the mirrors send of a run, read from its own files, with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row, read_table

# Not metrics: identifiers of a row, and values that are the same in every epoch.
_NOT_OF_A_LAYER = ("epoch", "step", "layer", "weights")


def history_of(directory: RunDirectory, start: int = 0) -> list[Row]:
    """Return one row per finished epoch: that of `metrics.csv`, and those of `layers.csv` as `layers/<name>/...`.

    Args:
        directory: the run directory.
        start: number of initial rows to skip.
    """
    epochs = read_table(directory.metrics_file)[start:]
    steps = {row["step"] for row in epochs}
    layers: dict[str, Row] = {}
    for row in read_table(directory.layers_file) if steps else ():
        if row["step"] not in steps:
            continue
        values = {name: text for name, text in row.items() if name not in _NOT_OF_A_LAYER}
        layers.setdefault(row["step"], {}).update(_numbers(values, f"layers/{row['layer']}/"))
    return [{**_numbers(row), **layers.get(row["step"], {})} for row in epochs]


def summary_of(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that have a value; a diverged run also has others."""
    return {name: value for name, value in metrics.items() if value is not None}


def scalars_of(row: Row) -> dict[str, float]:
    """Return the metrics of a row that are numbers, without `step`, by which they are sorted."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name != "step"}


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Row:
    """Return the non-empty cells as numbers."""
    return {prefix + name: _number(text) for name, text in row.items() if text not in ("", None)}


def _number(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
