"""Columns of the table of runs, including settings, by name."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from ternlab.core.errors import SettingsError, near_matches
from ternlab.reports.run_rows import RUN_COLUMNS, Flat, encodable

SETTINGS = "settings"


def names_a_setting(names: Iterable[str]) -> bool:
    """Return whether one of `names` is neither a column of a record nor a metric, so that settings must be read."""
    return any("/" not in name and name not in RUN_COLUMNS for name in names)


def with_columns(frame: pl.DataFrame, names: Iterable[str], option: str = "--columns") -> pl.DataFrame:
    """Add those of `names` that are not columns yet; they are settings.

    Args:
        frame: of `read_runs(..., settings=names_a_setting(names))`.
        names: columns, metrics, or settings by dotted names.
        option: where the names were typed, for messages.

    Raises:
        SettingsError: a name is unknown; the message suggests near matches.
    """
    missing = [name for name in dict.fromkeys(names) if name not in frame.columns or name == SETTINGS]
    if not missing:
        return frame
    if SETTINGS not in frame.columns:
        raise unknown_name(missing[0], frame.columns, option)
    return with_settings(frame, missing, option)


def with_settings(frame: pl.DataFrame, names: Iterable[str], option: str = "--columns") -> pl.DataFrame:
    """Add settings as columns, by dotted names.

    A column holds numbers where every run has a number, else text: values such as `auto` mixed with numbers, and lists,
    are written as JSON has them.

    Args:
        frame: of `read_runs(..., settings=True)`.
        names: names of the settings.
        option: where the names were typed, for messages.

    Raises:
        SettingsError: there is no such setting.
    """
    from ternlab.reports.schema import setting_names

    rows = flat_settings(frame)
    names = list(names)
    known = setting_names().union(*rows)
    for name in names:
        if name not in known:
            raise unknown_name(name, [*frame.columns, *known], option)
    return frame.with_columns(column_of(name, [row.get(name) for row in rows]) for name in names)


def flat_settings(frame: pl.DataFrame) -> list[Flat]:
    """Return the settings of each row by dotted names; `{}` where they are not readable."""
    return [json.loads(text) if text else {} for text in frame[SETTINGS]]


def column_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Return a column of the narrowest type that has all the values: bool, int, float, or text."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in given) and given:
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given) and given:
        # A number that is too large for 64 bits stays exact as text.
        kind = pl.Int64 if all(isinstance(value, int) for value in given) else pl.Float64
        if all(abs(value) < 2**63 for value in given):
            return pl.Series(name, values, dtype=kind, strict=False)
    return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str:
    return encodable(value) if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def matching(patterns: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return `patterns` with those that have a `*` replaced by the names that fit, each once."""
    found: dict[str, None] = {}
    for pattern in patterns:
        fitting = [name for name in names if fnmatch.fnmatchcase(name, pattern)] if "*" in pattern else [pattern]
        found |= dict.fromkeys(fitting)
    return list(found)


def unknown_name(name: str, known: Iterable[str], option: str) -> SettingsError:
    """Return the error about a name that is neither a column, a metric nor a setting; near matches are named."""
    near = near_matches(name, known)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    columns = ", ".join(list(RUN_COLUMNS)[:6])
    return SettingsError(
        option,
        value=name,
        rule="is not a column, metric or setting",
        instead=f"{hint}(columns: {columns}, ...; metrics: docs/metrics.md; settings: config.yaml of a run)",
    )


def sorted_by(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return the rows by `keys`, which are columns of it; `-` before a name is from the largest to the smallest."""
    if not keys or frame.is_empty():
        return frame
    names = [key.removeprefix("-") for key in keys]
    descending = [key.startswith("-") for key in keys]
    return frame.sort(names, descending=descending, nulls_last=True, maintain_order=True)
