"""A table of runs as CSV, JSON, Parquet, Markdown or plain lines."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import polars as pl

from ternlab.core.text import aligned
from ternlab.reports.layout import Column, columns_of, fitting
from ternlab.reports.terminal import visible
from ternlab.runs.record import finite

FORMATS = ("table", "csv", "json", "parquet", "markdown")
# A spreadsheet takes text that begins so for a formula, which may call programs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# A carriage return outside of quotes would end the row for a spreadsheet.
_KEPT = "\n\t"


def rendered(frame: pl.DataFrame, form: str) -> str | bytes:
    """Return the table in one of `FORMATS`; `table` is of any width."""
    if form == "csv":
        return as_csv(frame)
    if form == "json":
        return as_json(frame)
    if form == "parquet":
        return as_parquet(frame)
    return as_markdown(frame) if form == "markdown" else "".join(f"{line}\n" for line in as_lines(frame)[0])


def as_csv(frame: pl.DataFrame) -> str:
    """Return CSV with numbers as they are; text that a spreadsheet would run gets a leading quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_defused(name) for name in frame.columns])
    writer.writerows([_csv_cell(value) for value in row] for row in frame.iter_rows())
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return _defused(value) if isinstance(value, str) else value


def _defused(text: str) -> str:
    # Quoted before anything is written out: what begins with a tab still shall.
    quote = "'" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA[:4]) else ""
    return quote + (text if text.isprintable() else "".join(one if one in _KEPT else visible(one) for one in text))


def as_json(frame: pl.DataFrame) -> str:
    """Return a list of objects; what is missing is null, and numbers are as precise as they were."""
    rows = [finite(row) for row in frame.iter_rows(named=True)]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def as_parquet(frame: pl.DataFrame) -> bytes:
    """Return a Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def as_markdown(frame: pl.DataFrame) -> str:
    """Return a table of Markdown with numbers as the terminal shows them; markup in names is text."""
    columns = columns_of(frame)
    lines = [
        [_escaped(column.head) for column in columns],
        ["---:" if column.number else "---" for column in columns],
        *zip(*([_escaped(cell) for cell in column.cells] for column in columns), strict=True),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    for sign in "\\`*_[]|~#":
        cell = cell.replace(sign, f"\\{sign}")
    return cell.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_lines(frame: pl.DataFrame, width: int | None = None, least: int | None = None) -> tuple[list[str], list[str]]:
    """Return the lines of a plain table, and the heads of the columns that had no room.

    Args:
        frame: the table.
        width: width of the terminal in characters (`None`: unlimited).
        least: columns that are always kept (`None`: all, so that the terminal wraps long lines).
    """
    columns = columns_of(frame)
    kept = columns if least is None else fitting(columns, width, least)
    rows = list(zip(*(column.cells for column in kept), strict=True))
    return aligned([tuple(column.head for column in kept), *rows]), _heads(columns[len(kept) :])


def _heads(columns: list[Column]) -> list[str]:
    return list(dict.fromkeys(column.source for column in columns))
