"""Charts of the results: degradation against size, heat map, parallel coordinates, published numbers."""

from __future__ import annotations

from typing import Any

import altair as alt

from ternlab.reports.page.charts_parts import (
    POINTS,
    SIGNED,
    Chart,
    coloured,
    longest,
    name_axis,
    named,
    shaped,
    signed_axis,
    sized,
    tip,
)
from ternlab.reports.page.charts_theme import DIVERGING


def size_chart(series: list[str], *, reach: tuple[float, float]) -> Chart:
    """Return degradation against network size: runs, means over seeds with intervals, and the Pareto front.

    Args:
        series: rules in the order of their colours.
        reach: least and largest degradation shown; longer intervals are clipped.
    """
    x = alt.X("at:Q", title="parameter size (bytes, log scale)", scale=_log(), axis=_sizes())
    y = alt.Y("mean:Q", title=POINTS, scale=alt.Scale(domain=list(reach), nice=True), axis=signed_axis())
    colour, shape = coloured("rule", series), shaped("rule", series)
    groups = named("groups").transform_filter("datum.beside")
    zero = alt.Chart(alt.NamedData("references")).mark_rule(style="zero").encode(y=alt.datum(0))
    full = named("references").mark_point(style="reference", shape="stroke").encode(x=x, y=alt.Y("mean:Q"))
    full = full.encode(tooltip=[tip("model", "full precision"), tip("size", "size"), tip("data", "data")])
    word = (
        named("references").mark_text(style="words", dy=-10, dx=6, align="right").encode(x=x, y="mean:Q", text="word:N")
    )
    front = groups.transform_filter("datum.front").mark_line(style="front", interpolate="step-after", clip=True)
    front = front.encode(x=x, y=y, detail="data:N", order="at:Q")
    runs = alt.Chart(alt.NamedData("points")).mark_point(style="run", clip=True)
    runs = runs.encode(x=x, y=alt.Y("degradation:Q"), color=colour, shape=shape, tooltip=_run_tips())
    bars = groups.mark_rule(style="interval", clip=True).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    ring = groups.transform_filter("datum.front").mark_point(style="ring").encode(x=x, y=y)
    means = groups.mark_point(style="group").encode(x=x, y=y, color=colour, shape=shape, tooltip=_group_tips())
    label = "Scatter plot of degradation against parameter size, with means over seeds and confidence intervals."
    return Chart(
        "size",
        label,
        sized(alt.layer(zero, front, bars, ring, runs, means, full, word), 380),
        ("points", "groups", "references"),
        longest(series),
    )


def settings_chart(names: list[str], series: list[str], *, reach: tuple[float, float]) -> Chart:
    """Return one row per setting: its mean degradation with the interval, and its seeds.

    Args:
        names: names of the settings, best first.
        series: rules in the order of their colours.
        reach: least and largest degradation shown; longer intervals are clipped.
    """
    x = alt.X("mean:Q", title=POINTS, scale=alt.Scale(domain=list(reach), nice=True), axis=signed_axis())
    y = alt.Y("group:N", title=None, scale=alt.Scale(domain=names), axis=None)
    colour, shape = coloured("rule", series), shaped("rule", series)
    rows = named("groups").transform_filter("datum.row !== null").encode(y=y)
    zero = named("groups").mark_rule(style="zero").encode(x=alt.datum(0))
    text = rows.encode(x=alt.value(0), text="group:N")
    words = [text.mark_text(style=style, align="left", dy=-13, dx=2, limit=540) for style in ("halo", "tick")]
    bars = rows.mark_rule(style="interval", clip=True, yOffset=4).encode(x="low:Q", x2="high:Q", color=colour)
    runs = named("points").transform_filter("datum.row !== null").mark_point(style="run", clip=True, yOffset=4)
    runs = runs.encode(x=alt.X("degradation:Q"), y=y, color=colour, shape=shape, tooltip=_run_tips())
    means = rows.mark_point(style="group", yOffset=4).encode(x=x, color=colour, shape=shape, tooltip=_group_tips())
    label = "Mean degradation of each setting with its 95 % confidence interval, and the degradation of each seed."
    layers = alt.layer(zero, bars, runs, means, *words)
    return Chart("settings", label, sized(layers, 40 * len(names)), ("groups", "points"), longest(series))


def heat_map(x: str, y: str, columns: list[str], rows: list[str], reach: float) -> Chart:
    """Return a heat map of mean degradation over two settings; each cell shows its mean and number of seeds.

    Args:
        x, y: names of the settings.
        columns, rows: their values in display order.
        reach: degradation of the strongest colour, in both directions.
    """
    scale = alt.Scale(scheme=DIVERGING, domain=[-reach, reach], domainMid=0, clamp=True)
    colour = alt.Color(
        "mean:Q",
        scale=scale,
        legend=alt.Legend(title=POINTS, gradientLength=220, format="+.1~f", tickCount=5, labelExpr=SIGNED),
    )
    base = named("cells").encode(
        x=alt.X("x:N", title=x, scale=alt.Scale(domain=columns), axis=name_axis(labelAngle=0)),
        y=alt.Y("y:N", title=y, scale=alt.Scale(domain=rows), axis=name_axis()),
    )
    tips = [tip("group", "settings"), tip("mean", "mean degradation", "+.2f"), tip("interval", "95 % CI")]
    tips += [tip("seeds", "degradation of each seed")]
    ink = alt.condition(f"abs(datum.mean) > {0.78 * reach}", alt.value("#ffffff"), alt.value("#16191d"))
    cells = base.mark_rect(style="cell").encode(color=colour, tooltip=tips)
    means = base.mark_text(style="mark", dy=-7).encode(text=alt.Text("mean:Q", format="+.2f"), color=ink)
    counts = base.mark_text(style="note", dy=9).encode(text="count:N", color=ink)
    height = max(150, len(rows) * max(36, min(64, 480 // len(rows))))
    label = f"Heat map of mean degradation over {y} and {x}, with the number of seeds per cell."
    return Chart("heat", label, sized(alt.layer(cells, means, counts), height), ("cells",))


def parallel(axes: list[str], reach: tuple[float, float], lines_drawn: int) -> Chart:
    """Return parallel coordinates: one line per run through its settings, validation accuracy and degradation.

    Args:
        axes: names in display order.
        reach: range of degradation covered by the colour scale.
        lines_drawn: number of runs drawn; if there are many, lines are faint.
    """
    x = alt.X("axis:N", title=None, scale=alt.Scale(domain=axes), axis=_axis_names(len(axes)))
    y = alt.Y("at:Q", title=None, scale=alt.Scale(domain=[-0.04, 1.04], nice=False), axis=None)
    legend = alt.Legend(title=POINTS, format="+.1~f", gradientLength=220, tickCount=4, labelExpr=SIGNED)
    # The scale does not end in yellow, since thin yellow lines are invisible on white.
    scale = alt.Scale(range=["#2c7fb8", "#35a08f", "#c27c0e", "#b23a2e"], domain=_quarters(reach), clamp=True)
    lines = named("lines").encode(x=x, y=y, detail="run:N", order="place:Q", tooltip=_run_tips())
    shown = lines.mark_line(style="curve", interpolate="monotone").encode(
        color=alt.Color("degradation:Q", scale=scale, legend=legend),
        opacity=alt.value(0.75 if lines_drawn < 80 else 0.35),
    )
    rails = named("ticks").mark_rule(style="rail").encode(x=x)
    hit = lines.mark_line(style="hit", interpolate="monotone")
    ticks = named("ticks").encode(x=x, y=y, text="text:N")
    texts = (ticks.mark_text(style=style, dx=6, align="left") for style in ("halo", "tick"))
    label = "Parallel coordinates: one line per finished run through its settings, validation accuracy and degradation."
    return Chart("parallel", label, sized(alt.layer(rails, shown, hit, *texts), 340), ("lines", "ticks"))


def published_chart(series: list[str]) -> Chart:
    """Return published and own degradation in one row per network and rule, distinguished by shape."""
    x = alt.X("degradation:Q", title=POINTS, axis=signed_axis())
    y = alt.Y("row:N", title=None, sort=None, axis=name_axis(labelLimit=240))
    sources = ["published", "measured here"]
    base = named("published").encode(
        x=x,
        y=y,
        color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=sources)),
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=sources, range=["diamond", "circle"])),
        tooltip=[
            tip("row", "network, rule"),
            tip("kind", "number"),
            tip("degradation", "degradation", "+.2f"),
            tip("source", "source"),
        ],
    )
    zero = named("published").mark_rule(style="zero").encode(x=alt.datum(0))
    label = "Published degradation next to that measured here, for the same networks, data and rules."
    chart = alt.layer(zero, base.mark_point(style="group"))
    return Chart("published", label, sized(chart, 40 + 26 * len(series)), ("published",), longest(sources))


def _run_tips() -> list[Any]:
    tips = [tip("group", "settings"), tip("seed", "seed"), tip("degradation", "degradation", "+.2f")]
    return [*tips, tip("val", "validation top-1", ".2f"), tip("run", "run")]


def _group_tips() -> list[Any]:
    tips = [tip("group", "settings"), tip("mean", "mean degradation", "+.2f"), tip("interval", "95 % CI")]
    return [*tips, tip("seeds", "seeds"), tip("size", "size"), tip("ratio", "times smaller", ".2f")]


def _log() -> Any:
    return alt.Scale(type="log", nice=False, padding=24)


def _sizes() -> Any:
    return alt.Axis(format="~s", tickCount=5, labelSeparation=10, grid=False)


def _axis_names(count: int) -> Any:
    return alt.Axis(
        orient="top", ticks=False, domain=False, grid=False, labelAngle=0 if count < 6 else -18, labelLimit=170
    )


def _quarters(reach: tuple[float, float]) -> list[float]:
    low, high = reach
    return [low + (high - low) * place / 3 for place in range(4)]
