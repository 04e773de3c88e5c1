"""`ternlab compare`: two runs side by side, or two sets of runs paired by seed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.core.statistics import Summary
from ternlab.core.text import aligned
from ternlab.reports.columns import with_columns
from ternlab.reports.conditions import Condition, parse_condition
from ternlab.reports.difference import different_settings
from ternlab.reports.formatting import format_value
from ternlab.reports.layout import interval_head
from ternlab.reports.metrics_catalog import RECORD, metrics_of
from ternlab.reports.one_run import OneRun, one_run
from ternlab.reports.pairs import Pairs, paired_runs
from ternlab.reports.run_index import read_runs
from ternlab.reports.terminal import visible
from ternlab.runs.directory import existing_run
from ternlab.runs.record import Status

_SIGNS = "=<>~!"


def compare(chosen: argparse.Namespace) -> ExitCode:
    """Print how two runs, or two sets of runs, differ.

    Raises:
        SettingsError: there is no such run, a condition is invalid, or the two sets have no pairs.
    """
    typed = (chosen.first, chosen.second)
    if not any(_is_condition(text) for text in typed):
        runs = [one_run(existing_run(chosen.runs, text, side)) for text, side in zip(typed, "AB", strict=True)]
        _print_runs(*runs, as_json=chosen.json)
        return ExitCode.DONE
    _print_pairs(_pairs(chosen), typed, as_json=chosen.json)
    return ExitCode.DONE


def _is_condition(text: str) -> bool:
    return any(sign in text for sign in _SIGNS)


def _print_runs(first: OneRun, second: OneRun, *, as_json: bool) -> None:
    settings = different_settings(first, second)
    metrics = {
        name: (first.metrics.get(name), second.metrics.get(name))
        for name in dict.fromkeys([*metrics_of(RECORD), *first.metrics, *second.metrics])
        if name in first.metrics or name in second.metrics
    }
    if as_json:
        print(json.dumps(_runs_as_object(first, second, settings, metrics), allow_nan=False))
        return
    for name, run in (("A", first), ("B", second)):
        print(f"{name}  {visible(run.run_id)}: {visible(run.status)}")
    if settings:
        rows = [(visible(name), *map(_text, pair)) for name, pair in settings.items()]
        print("", *aligned([("setting", "A", "B"), *rows]), sep="\n")
    else:
        print("\nall settings are equal")
    if metrics:
        rows = [(visible(name), *_cells(name, *pair)) for name, pair in metrics.items()]
        print("", *aligned([("metric", "A", "B", "B - A"), *rows]), sep="\n")


def _text(value: Any) -> str:
    return "" if value is None else visible(value if isinstance(value, str) else json.dumps(value))


def _cells(name: str, first: float | None, second: float | None) -> tuple[str, str, str]:
    difference = None if first is None or second is None else second - first
    return format_value(name, first), format_value(name, second), format_value(name, difference, difference=True)


def _runs_as_object(
    first: OneRun,
    second: OneRun,
    settings: dict[str, tuple[Any, Any]],
    metrics: dict[str, tuple[float | None, float | None]],
) -> dict[str, Any]:
    return {
        "a": {"run_id": first.run_id, "status": first.status},
        "b": {"run_id": second.run_id, "status": second.status},
        "settings": {name: {"a": a, "b": b} for name, (a, b) in settings.items()},
        "metrics": {
            name: {"a": a, "b": b, "difference": None if a is None or b is None else b - a}
            for name, (a, b) in metrics.items()
        },
    }


def _pairs(chosen: argparse.Namespace) -> Pairs:
    frame = read_runs(chosen.runs, settings=True)
    sides: list[Sequence[str]] = []
    varied: list[str] = []
    for text, side in ((chosen.first, "A"), (chosen.second, "B")):
        if _is_condition(text):
            condition = parse_condition(text, side)
            found = _fulfilling(frame, condition)
            varied += condition.names()
        else:
            found = [existing_run(chosen.runs, text, side).run_id]
        sides.append(found)
    return paired_runs(frame, sides[0], sides[1], varied)


def _fulfilling(frame: pl.DataFrame, condition: Condition) -> list[str]:
    added = with_columns(frame, condition.names(), condition.option)
    finished = condition.keep(added).filter(pl.col("status") == Status.FINISHED)
    if finished.is_empty():
        raise SettingsError(
            condition.option,
            value=condition.text,
            rule="no finished run matches",
            instead="ternlab results --where ...",
        )
    ids: list[str] = finished["run_id"].to_list()
    return ids


def _print_pairs(pairs: Pairs, typed: Sequence[str], *, as_json: bool) -> None:
    metrics = {name: pairs.of(name) for name in metrics_of(RECORD)}
    metrics = {name: found for name, found in metrics.items() if found[2].n}
    if as_json:
        print(json.dumps(_pairs_as_object(pairs, typed, metrics), allow_nan=False))
        return
    for name, text in zip("AB", typed, strict=True):
        print(f"{name}  {visible(text)}")
    several = f" with {pairs.recipes} different settings" if pairs.recipes > 1 else ""
    seeds = sorted({str(seed) for seed in pairs.seeds()}, key=lambda text: (len(text), text))
    count = "1 pair" if len(pairs.first) == 1 else f"{len(pairs.first)} pairs"
    print(f"{count} of finished runs{several}; seeds of A: {', '.join(seeds)}")
    if any(pairs.unpaired):
        print(f"unpaired: {pairs.unpaired[0]} of A, {pairs.unpaired[1]} of B")
    head = ("metric", "n", "A", "B", "B - A", "std", interval_head())
    print("", *aligned([head, *_pair_rows(metrics)]), sep="\n")
    print(f"\n{interval_head()}: half-width of the confidence interval of the mean paired difference (Student's t)")


def _pair_rows(metrics: dict[str, tuple[Summary, Summary, Summary]]) -> Iterator[tuple[str, ...]]:
    for name, (first, second, difference) in metrics.items():
        yield (
            name,
            str(difference.n),
            format_value(name, first.mean),
            format_value(name, second.mean),
            format_value(name, difference.mean, difference=True),
            format_value(name, difference.std).removeprefix("+"),
            format_value(name, difference.half_width).removeprefix("+"),
        )


def _pairs_as_object(
    pairs: Pairs, typed: Sequence[str], metrics: dict[str, tuple[Summary, Summary, Summary]]
) -> dict[str, Any]:
    return {
        "a": typed[0],
        "b": typed[1],
        "pairs": [
            {"seed": seed, "a": one, "b": other}
            for seed, one, other in zip(pairs.seeds(), pairs.first, pairs.second, strict=True)
        ],
        "without_partner": {"a": pairs.unpaired[0], "b": pairs.unpaired[1]},
        "metrics": {
            name: {"a": first.mean, "b": second.mean, "difference": difference.as_dict()}
            for name, (first, second, difference) in metrics.items()
        },
    }
