"""Numbers as tables show them: decimals by the unit of the metric."""

from __future__ import annotations

from typing import Any

from ternlab.metrics.registry import Unit
from ternlab.reports.metrics_catalog import catalog
from ternlab.reports.terminal import visible

_FORMATS: dict[Unit, str] = {
    "percent": ".2f",
    "points": "+.2f",
    "nats": ".4f",
    "bytes": ",.0f",
    "ratio": ".2f",
    "share": ".3f",
    "bits": ".4f",
    "count": ",.0f",
}
_BEHIND: dict[Unit, str] = {"percent": " %", "points": " points", "bytes": " bytes", "ratio": "x", "bits": " bits"}


def format_value(name: str, value: Any, *, unit: bool = False, difference: bool = False) -> str:
    """Return a value of the column `name` as a cell: two decimals for percent, a sign for degradation.

    Args:
        name: a metric, or any other column.
        value: `None` is an empty cell.
        unit: write the unit behind a metric.
        difference: write a sign, whatever the metric.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float):
        return visible(str(value))
    metric = catalog().get(name)
    form = _FORMATS.get(metric.unit, ".6g") if metric else ".0f" if name == "seconds" else ""
    if not form and isinstance(value, float):
        form = ".6g"
    if difference and not form.startswith("+"):
        form = f"+{form}"
    text = f"{_without_minus_zero(value, form):{form}}"
    return text + _BEHIND.get(metric.unit, "") if unit and metric else text


def _without_minus_zero(value: float, form: str) -> float:
    """Return 0 for what would be written as `-0.00`."""
    written = f"{value:{form}}"
    return 0.0 if written.startswith("-") and not written.strip("-0.,") else value
