"""What the charts are made of: their class, encodings and axes that they share."""

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
        name: of its place in the page, and of its files.
        label: what it shows, for those who do not see it.
        spec: Vega-Lite; its data are named, and filled in once for all charts of the page.
        data: the names of these data; the first is what the chart is about.
        series: the longest name in the legend, in letters; 0 without a legend.
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
    """Return a chart over the data of a name, which are filled in later."""
    return alt.Chart(alt.NamedData(name))


def sized(chart: Any, height: int) -> Spec:
    """Return the Vega-Lite of a chart as wide as its place."""
    # Altair's own configuration would take the place of the page's.
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    return {key: value for key, value in spec.items() if key != "config"}


def coloured(field: str, series: list[str]) -> Any:
    """Return colours of series in their order; the title of the legend says nothing that the page does not."""
    # Without `sort`: Vega-Lite would write the names into an expression, which some letters break.
    return alt.Color(f"{field}:N", title=None, scale=alt.Scale(domain=series))


def shaped(field: str, series: list[str]) -> Any:
    """Return shapes of series, in the order of their colours."""
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(series))]
    return alt.Shape(f"{field}:N", title=None, scale=alt.Scale(domain=series, range=shapes))


def tip(field: str, title: str, form: str | None = None) -> Any:
    """Return a line of what is shown under the pointer; with a format it is a number."""
    kind = "Q" if form else "N"
    return alt.Tooltip(f"{field}:{kind}", title=title, **({"format": form} if form else {}))


def signed_axis(**more: Any) -> Any:
    """Return an axis of percentage points, with their sign."""
    return alt.Axis(format="+.2~f", tickCount=7, labelExpr=SIGNED, **more)


def name_axis(**more: Any) -> Any:
    """Return an axis of names, without lines."""
    return alt.Axis(ticks=False, domain=False, labelPadding=8, grid=False, **more)


def longest(series: list[str]) -> int:
    """Return the letters of the longest name."""
    return max((len(name) for name in series), default=0)
