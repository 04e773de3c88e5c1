"""Training charts: curves of runs and baselines, layer statistics by epoch, weight histograms with thresholds."""

from __future__ import annotations

from typing import Any

import altair as alt

from ternlab.metrics.registry import TRAIN, VAL
from ternlab.reports.page.charts_parts import Chart, coloured, longest, named, sized, tip
from ternlab.reports.page.charts_theme import COLOURS

LAYER_QUANTITIES = {
    "sparsity": ("zeros (percent of the layer's codes)", "share of zeros"),
    "threshold": ("threshold (in units of the weights)", "threshold"),
    "scale": ("scale (in units of the weights)", "scale"),
}
CURVE_NAMES = {
    VAL: "validation top-1 (percent)",
    TRAIN: "training top-1 (percent)",
    "val/loss": "validation loss (nats)",
    "train/loss": "training loss (nats)",
}
CODES = ("-1", "0", "+1", "no zero")


def curve_chart(quantity: str, series: list[str], epochs: int, *, baselines: bool) -> Chart:
    """Return curves by epoch; baselines are dashed.

    Args:
        quantity: a key of `CURVE_NAMES`.
        series: settings, or rules, in the order of their colours.
        epochs: epochs of the longest curve.
        baselines: whether there are baselines.
    """
    x = alt.X("epoch:Q", title="epoch", axis=_epochs(epochs))
    y = alt.Y("value:Q", title=CURVE_NAMES[quantity], scale=alt.Scale(zero=False))
    # In an expression, a slash would be a division.
    base = named("curves").transform_calculate(value=f"datum['{quantity}']").transform_filter("isValid(datum.value)")
    base = base.encode(x=x, y=y, detail="run:N")
    tips = [tip("group", "settings"), tip("seed", "seed"), tip("epoch", "epoch", "d")]
    tips += [tip("value", CURVE_NAMES[quantity], ".4~f"), tip("run", "run")]
    quantized = base.transform_filter("datum.role == 'quantized'")
    below = base.transform_filter("datum.role == 'baseline'").mark_line(style="baseline", point=epochs == 1)
    # A line of one epoch has no length.
    lines = quantized.mark_line(style="curve", point=epochs == 1).encode(
        color=coloured("line", series),
        strokeDash=_dashed(series),
    )
    hit = base.mark_line(style="hit").encode(tooltip=tips[:2] + tips[-1:])
    spots = base.mark_point(style="spot").encode(tooltip=tips)
    label = f"Training curves: {CURVE_NAMES[quantity]} by epoch; quantized runs solid, their baselines dashed."
    # A layer without rows would make Vega warn about an axis without extent.
    layers = [*([below] if baselines else []), *([lines] if series else []), hit, spots]
    return Chart("curves", label, sized(alt.layer(*layers), 340), ("curves",), longest(series))


def layer_chart(quantity: str, epochs: int) -> Chart:
    """Return a quantity of every layer of one run by epoch; layers are coloured from first to last."""
    title, short = LAYER_QUANTITIES[quantity]
    form = ".1f" if quantity == "sparsity" else ".4~f"
    # From dark violet to orange: yellow is invisible on white, and black on a dark page.
    scale = alt.Scale(range=["#7b4fb5", "#3a86c8", "#2a9d7c", "#d9822b"], type="linear")
    base = named("layers").transform_calculate(value=f"datum['{quantity}']").transform_filter("isValid(datum.value)")
    base = base.encode(
        x=alt.X("epoch:Q", title="epoch", axis=_epochs(epochs)),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        detail="layer:N",
        tooltip=[
            tip("layer", "layer"),
            tip("epoch", "epoch", "d"),
            tip("value", short, form),
            tip("d", "threshold (standard deviations)", ".3f"),
        ],
    )
    colour = alt.Color(
        "place:Q",
        scale=scale,
        legend=alt.Legend(title="layer, from first to last", gradientLength=120, tickMinStep=1, format="d"),
    )
    lines = base.mark_line(style="curve", point=epochs == 1).encode(color=colour)
    hit = base.mark_line(style="hit").encode(tooltip=[tip("layer", "layer")])
    spots = base.mark_point(style="spot")
    label = f"{short.capitalize()} of every quantized layer of one run, by epoch."
    return Chart(f"layers-{quantity}", label, sized(alt.layer(lines, hit, spots), 250), ("layers",))


def histogram_chart() -> Chart:
    """Return the histogram of one layer's latent weights, coloured by code, with its thresholds."""
    codes = list(CODES)
    x = alt.X("low:Q", bin="binned", title=None, axis=alt.Axis(grid=False, tickCount=4, format="~g"))
    tips = [
        tip("layer", "layer"),
        tip("from", "weights from"),
        tip("percent", "percent of weights", ".2f"),
        tip("code", "code"),
    ]
    bars = (
        named("bins")
        .mark_bar(binSpacing=0.5)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("percent:Q", title=None, axis=alt.Axis(grid=False, tickCount=3, format=".4~g")),
            color=alt.Color("code:N", title="code", scale=alt.Scale(domain=codes, range="ordinal"), legend=None),
            tooltip=tips,
        )
    )
    rules = named("bins").transform_filter("isValid(datum.below)")
    rules = rules.transform_aggregate(at="min(below)", to="max(above)")
    below = rules.mark_rule(style="threshold").encode(x="at:Q")
    above = rules.mark_rule(style="threshold").encode(x="to:Q")
    label = "Histogram of a layer's latent weights; between the dashed lines, the thresholds, the code is zero."
    return Chart("weights", label, sized(alt.layer(bars, below, above), 120), ("bins",))


def _dashed(series: list[str]) -> Any:
    """Return line styles: solid, then other patterns once the colours repeat; none is dashed like the baselines."""
    patterns = [[1, 0], [2, 2], [10, 2, 2, 2]]
    used = [patterns[place // COLOURS % len(patterns)] for place in range(len(series))]
    return alt.StrokeDash("line:N", title=None, scale=alt.Scale(domain=series, range=used))


def _epochs(last: int) -> Any:
    """Return an axis with up to six integer epochs; Vega would label rounded halves."""
    step = max(1, -(-last // 6))
    step = next(nice * 10**power for power in range(9) for nice in (1, 2, 5) if nice * 10**power >= step)
    return alt.Axis(
        values=[1, *range(step, last + 1, step)] if step > 1 else list(range(1, last + 1)), format="d", grid=False
    )
