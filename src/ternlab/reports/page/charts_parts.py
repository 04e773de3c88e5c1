"""Building blocks of the charts: their class, and shared encodings and axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt

from ternlab.reports.page.charts_theme import SHAPES

Spec = dict[str, Any]

# Zero has no sign.
SIGNED = "datum.value == 0 ? '0' : datum.label"
POINTS = "degradation, top-1 (percentage points)"


@dataclass(frozen=True)
class Chart:
    """A chart without its data.

    Attributes:
        name: name of its placeholder in the page, and of its files.
        label: text alternative.
        spec: Vega-Lite; its data are named, and filled in once for all charts of the page.
        data: the names of these data; the first is the chart's main data.
        series: length of the longest name in the legend, in characters; 0 without a legend.
    """

    name: str
    label: str
    spec: Spec
    data: tuple[str, ...]
    series: int = 0


def vega_lite_version() -> str:
    """Return the version of Vega-Lite that Altair writes, as vl-convert names it (`6.4`)."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def named(name: str) -> Any:
    """Return a chart of named data, which are filled in later."""
    return alt.Chart(alt.NamedData(name))


def sized(chart: Any, height: int) -> Spec:
    """Return the Vega-Lite spec of a chart as wide as its placeholder."""
    # Altair's own configuration would replace the page's.
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    return {key: value for key, value in spec.items() if key != "config"}


def coloured(field: str, series: list[str]) -> Any:
    """Return colours of series in their order, without a legend title, which would repeat the page's text."""
    # Without `sort`: Vega-Lite would write the names into an expression, which some characters break.
    return alt.Color(f"{field}:N", title=None, scale=alt.Scale(domain=series))


def shaped(field: str, series: list[str]) -> Any:
    """Return shapes of series, in the order of their colours."""
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(series))]
    return alt.Shape(f"{field}:N", title=None, scale=alt.Scale(domain=series, range=shapes))


def tip(field: str, title: str, form: str | None = None) -> Any:
    """Return a line of a tooltip; with a format it is a number."""
    kind = "Q" if form else "N"
    return alt.Tooltip(f"{field}:{kind}", title=title, **({"format": form} if form else {}))


def signed_axis(**more: Any) -> Any:
    """Return an axis of signed percentage points."""
    return alt.Axis(format="+.2~f", tickCount=7, labelExpr=SIGNED, **more)


def name_axis(**more: Any) -> Any:
    """Return an axis of names, without lines."""
    return alt.Axis(ticks=False, domain=False, labelPadding=8, grid=False, **more)


def longest(series: list[str]) -> int:
    """Return the length of the longest name."""
    return max((len(name) for name in series), default=0)
