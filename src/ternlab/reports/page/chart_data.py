"""The rows behind the charts of the results, from runs and groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ternlab.metrics.registry import DEGRADATION
from ternlab.reports.formatting import format_value
from ternlab.reports.load_runs import Run, value_of
from ternlab.reports.seed_groups import CHOICE, Group, HeatMap, pareto_front, shown_value

Row = dict[str, Any]

# Axes of the parallel coordinates that are not settings.
VALIDATION = "validation (%)"
LOSS = "degradation (points)"
MOST_AXES = 6
MOST_LINES = 300
# Settings with means in the picture of the sizes.
MOST_OF_A_SIZE = 12
# Settings in a row of their own.
MOST_ROWS = 24
# Of the sizes' logarithm: between two settings of one size, and between the first and the last.
_STEP = 0.05
_SPREAD = 0.3
# With more values, a numeric axis has ticks only at its ends.
_MOST_TICKS = 6


def group_rows(groups: Sequence[Group]) -> list[Row]:
    """Return one row per plotted group, best first: mean degradation, interval, size, Pareto front."""
    front, aside = pareto_front(groups), beside_one_another(groups)
    return [
        {
            "group": group.words,
            "row": place if place < MOST_ROWS else None,
            "rule": group.first.quant,
            "data": group.first.data,
            "at": group.size * aside.get(group.key, 1.0),
            "beside": group.key in aside,
            "size": kilobytes(group.size),
            "ratio": group.ratio,
            "front": group.key in front,
            **_mean_of(group),
        }
        for place, group in enumerate(groups)
        if group.size and (place < MOST_ROWS or group.key in aside)
    ]


def point_rows(groups: Sequence[Group]) -> list[Row]:
    """Return one row per finished quantized run."""
    aside = beside_one_another(groups)
    return [
        {
            "run": run.run_id,
            "group": group.words,
            "rule": run.quant,
            "row": place if place < MOST_ROWS else None,
            "seed": run.seed,
            "at": run.metrics["size/quantized_bytes"] * aside.get(group.key, 1.0),
            "degradation": run.metrics[DEGRADATION],
            "val": run.metrics.get(CHOICE),
        }
        for place, group in enumerate(groups)
        for run in group.runs
        if run.metrics.get("size/quantized_bytes")
    ]


def reference_rows(groups: Iterable[Group]) -> list[Row]:
    """Return one row per full-precision network: no degradation, at its own size."""
    found: dict[tuple[str, str], Row] = {}
    for group in groups:
        size = group.first.metrics.get("size/float_bytes")
        if size:
            about = {"model": group.first.model, "data": group.first.data}
            row = {**about, "at": size, "size": kilobytes(size), "mean": 0.0, "word": "full precision"}
            found[group.first.data, group.first.model] = row
    return list(found.values())


def beside_one_another(groups: Iterable[Group]) -> dict[str, float]:
    """Return the factors, of a few percent, by which groups of equal size are shifted so that they do not overlap.

    Groups are ordered by name: ordered by degradation, they would seem to grow with it. Groups that are not among the
    best of their size are left out.
    """
    by_size: dict[float | None, list[Group]] = {}
    for group in groups:
        by_size.setdefault(group.size, []).append(group)
    found: dict[str, float] = {}
    for found_here in by_size.values():
        same = sorted(found_here[:MOST_OF_A_SIZE], key=lambda group: group.words)
        step = min(_STEP, _SPREAD / len(same))
        found |= {group.key: math.exp(step * (place - (len(same) - 1) / 2)) for place, group in enumerate(same)}
    return found


def cell_rows(maps: Sequence[HeatMap]) -> list[Row]:
    """Return one row per cell; `map` is the number of its heat map."""
    return [
        {
            "map": place,
            "x": shown_value(cell.x),
            "y": shown_value(cell.y),
            "group": cell.group.words,
            "count": f"n = {cell.group.degradation.n}",
            **_mean_of(cell.group),
        }
        for place, one in enumerate(maps)
        for cell in one.cells
    ]


def reach_of(values: Iterable[float]) -> float:
    """Return the largest magnitude, at least a tenth of a point, as the limit of the colour scale around 0."""
    return max((abs(value) for value in values), default=0.1) or 0.1


def ordered(values: Iterable[Any]) -> list[str]:
    """Return the distinct values as displayed, numbers in numerical order."""
    found = {shown_value(value): value for value in values}
    return sorted(found, key=lambda text: _order(found[text]))


def line_rows(runs: Sequence[Run], words: dict[str, str], axes: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """Return the points of the parallel coordinates, and the ticks of their axes.

    Args:
        runs: finished quantized runs.
        words: settings of each run's group, by run ID.
        axes: settings; validation accuracy and degradation follow them.
    """
    lines: list[Row] = []
    ticks: list[Row] = []
    heads = _heads([*axes, VALIDATION, LOSS])
    for place, (name, head) in enumerate(heads.items()):
        values = {run.run_id: _on_axis(run, name) for run in runs}
        scale, marks = _scale(
            [value for value in values.values() if value is not None], sign="+" if name == LOSS else ""
        )
        ticks += [{"axis": head, "at": at, "text": text} for at, text in marks]
        for run in runs:
            if values[run.run_id] is not None:
                about = {
                    "run": run.run_id,
                    "group": words[run.run_id],
                    "seed": run.seed,
                    "val": run.metrics.get(CHOICE),
                }
                at = {"axis": head, "place": place, "at": scale(values[run.run_id])}
                lines.append({**about, "degradation": run.metrics[DEGRADATION], **at})
    return lines, ticks


def _heads(names: Sequence[str]) -> dict[str, str]:
    """Return names without their group prefix, if they remain distinct."""
    heads = {name: name.lstrip("+").removeprefix("quant.").removeprefix("optim.") for name in names}
    return heads if len(set(heads.values())) == len(heads) else {name: name for name in names}


def seeds_of(group: Group) -> str:
    """Return the degradation of each seed in one line."""
    return ", ".join(f"seed {run.seed}: {points(run.metrics[DEGRADATION])}" for run in group.runs)


def interval(low: float | None, high: float | None) -> str:
    """Return an interval in percentage points, or why there is none."""
    return "none (one seed)" if low is None or high is None else f"{points(low)} to {points(high)}"


def points(value: float | None) -> str:
    """Return percentage points with a sign and two decimals."""
    return format_value(DEGRADATION, value).replace("-", "\N{MINUS SIGN}")


def kilobytes(size: float) -> str:
    """Return bytes in kB or MB, with three digits or more."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _mean_of(group: Group) -> Row:
    found = group.degradation
    return {
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "interval": interval(found.low, found.high),
        "seeds": seeds_of(group),
    }


def _on_axis(run: Run, name: str) -> Any:
    if name in (VALIDATION, LOSS):
        return run.metrics.get(CHOICE if name == VALIDATION else DEGRADATION)
    return value_of(run, name)


def _scale(values: list[Any], sign: str = "") -> tuple[Any, list[tuple[float, str]]]:
    """Return a function from a value to its place between 0 and 1, and what is written at which place."""
    texts = ordered(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(texts) > 1:
        low, high = min(values), max(values)
        # Rates and thresholds are tried in factors.
        change: Any = math.log if low > 0 and high / low > 20 else float
        span = change(high) - change(low)
        marks = values if len(texts) <= _MOST_TICKS else [low, high]
        written = {_written(value, sign): (change(value) - change(low)) / span for value in marks}
        return lambda value: (change(value) - change(low)) / span, [(at, text) for text, at in written.items()]
    places = {text: place / max(1, len(texts) - 1) if len(texts) > 1 else 0.5 for place, text in enumerate(texts)}
    return lambda value: places[shown_value(value)], [(at, text) for text, at in places.items()]


def _written(value: float, sign: str) -> str:
    return f"{value:{sign}.4g}".replace("-", "\N{MINUS SIGN}")


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, float(value), "") if number else (1, 0.0, str(value))
