"""Columns of a table as text: rounded by the unit of their metric, in as many characters as there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from ternlab.reports.formatting import format_value
from ternlab.reports.seed_table import PARTS
from ternlab.reports.terminal import draws_unicode, visible

_LONGEST = 60


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes:
        head: the column header.
        cells: text of each row.
        number: whether it is right-aligned.
        source: the column or the metric that it is of.
    """

    head: str
    cells: tuple[str, ...]
    number: bool
    source: str


def columns_of(frame: pl.DataFrame) -> list[Column]:
    """Return the columns of a table of runs or of groups (`over_seeds`), whose intervals become half widths."""
    return [column for name in frame.columns for column in _shown_of(frame, name)]


def _shown_of(frame: pl.DataFrame, name: str) -> Iterator[Column]:
    metric, _, part = name.rpartition("/")
    if part not in PARTS or f"{metric}/mean" not in frame.columns:
        yield _column(visible(name), name, name, frame[name].to_list(), frame[name].dtype.is_numeric())
    elif part == "mean":
        yield _column(metric, metric, metric, frame[name].to_list())
    elif part == "std":
        yield _column("std", metric, metric, frame[name].to_list(), unsigned=True)
    elif part == "low":
        half = (frame[f"{metric}/high"] - frame[name]) / 2
        yield _column(interval_head(), metric, metric, half.to_list(), unsigned=True)
    elif part == "n" and any(found not in (0, runs) for found, runs in zip(frame[name], frame["n"], strict=True)):
        yield _column("n", "n", metric, frame[name].to_list())


def _column(
    head: str, name: str, source: str, values: list[Any], number: bool = True, *, unsigned: bool = False
) -> Column:
    cells = (format_value(name, value) for value in values)
    return Column(head, tuple(_shortened(cell.removeprefix("+" if unsigned else "")) for cell in cells), number, source)


def _shortened(cell: str) -> str:
    return cell if len(cell) <= _LONGEST else f"{cell[: _LONGEST - 3]}..."


def interval_head() -> str:
    """Return the column header of the half-widths of intervals."""
    return "±95 %" if draws_unicode() else "+-95 %"


def fitting(columns: list[Column], width: int | None, least: int) -> list[Column]:
    """Return the columns that fit side by side, from the left; at least the first `least`.

    A mean is not shown without its standard deviation and interval.
    """
    used = -2
    for number, column in enumerate(columns):
        used += 2 + max(map(len, (column.head, *column.cells)))
        if width is not None and used > width and number >= least:
            whole = [one for one in columns[:number] if one.source != column.source]
            return whole if len(whole) >= least else columns[:number]
    return columns
