"""One comparison of a column with a typed value, as a Polars expression."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import polars as pl

from ternlab.core.errors import SettingsError
from ternlab.reports.run_rows import RUN_COLUMNS

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_BOOLEANS = {"true": True, "false": False}


def compared(kind: pl.DataType, name: str, sign: str, value: str, quoted: bool, option: str) -> pl.Expr:
    """Return `name sign value` as an expression that is true or false, never null.

    Args:
        kind: type of the column.
        name: name of the column.
        sign: one of `= != < <= > >= ~`.
        value: as it was typed, without quotes.
        quoted: whether it had quotes; `null` without them is the missing value.
        option: where it was typed, for messages.

    Raises:
        SettingsError: the column cannot be compared with that value.
    """
    if sign == "!=":
        return ~compared(kind, name, "=", value, quoted, option)
    column = pl.col(name)
    if value == "null" and not quoted:
        if sign != "=":
            raise _error(
                option, f"{name}{sign}null", "missing values cannot be ordered", f"{name}=null or {name}!=null"
            )
        return column.is_null()
    return _compared(kind, name, sign, value, option).fill_null(value=False)


def _compared(kind: pl.DataType, name: str, sign: str, value: str, option: str) -> pl.Expr:
    column = pl.col(name)
    if kind.is_numeric():
        number = _number(value)
        if sign == "~" or number is None:
            rule = f"{name} is a number" if sign == "~" else f"{name} is a number, but {value!r} is not"
            raise _error(option, f"{name}{sign}{value}", rule, f"such as {name}<=0.05 or {name}!=null")
        return _sided(column, sign, number)
    if kind == pl.Boolean:
        if sign != "=" or value.lower() not in _BOOLEANS:
            raise _error(option, f"{name}{sign}{value}", f"{name} is true or false", f"{name}=true or {name}=false")
        return column == _BOOLEANS[value.lower()]
    return _text(column.cast(pl.String), name, sign, value)


def _sided(column: pl.Expr, sign: str, number: float) -> pl.Expr:
    result: pl.Expr = _OPERATORS[sign](column, number)
    return result


def _text(column: pl.Expr, name: str, sign: str, value: str) -> pl.Expr:
    if sign == "~":
        return column.str.to_lowercase().str.contains(value.lower(), literal=True)
    number = None if name in RUN_COLUMNS else _number(value)
    if number is None:
        result: pl.Expr = _OPERATORS[sign](column, value)
        return result
    # Settings such as trainer.precision are `auto` in one run and 32 in another.
    as_numbers = _sided(column.cast(pl.Float64, strict=False), sign, number).fill_null(value=False)
    return (column == value) | as_numbers if sign == "=" else as_numbers


def _number(text: str) -> float | None:
    """Return the number in `text`, whole ones as integers, which are exact for the largest seeds too."""
    try:
        number = float(text)
        if number.is_integer() and abs(number) < 2**63:
            return int(text) if text.lstrip("+-").isdecimal() else int(number)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _error(option: str, value: str, rule: str, instead: str) -> SettingsError:
    return SettingsError(option, value=value, rule=rule, instead=instead)
