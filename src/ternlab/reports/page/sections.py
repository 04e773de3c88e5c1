"""The chart sections of the page: titles that state the result, how to read the chart, and its placeholder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from ternlab.reports.load_runs import Gathered
from ternlab.reports.page.chart_data import interval, kilobytes, points
from ternlab.reports.page.drawing import Drawing
from ternlab.reports.page.parts import figure, holder, run_link, section
from ternlab.reports.page.tables import failures_section, published_section
from ternlab.reports.seed_groups import Group, best_of, chosen_by_validation

# Minimum pixels of an axis of the parallel coordinates and of a heat map column, so that their texts do not overlap.
_AXIS_PIXELS = 104
_COLUMN_PIXELS = 46
_MOST_CARDS = 12


def counts(gathered: Gathered) -> str:
    """Return the number of runs in each state, in one line."""
    found = Counter(str(run.state) for run in gathered.runs)
    said = ", ".join(f"{count} {state}" for state, count in found.most_common()) or "none"
    kinds = "; ".join(list(dict.fromkeys(f"{run.model} on {run.data}" for run in gathered.runs))[:6])
    where = f"Filter: {gathered.where}." if gathered.where else ""
    noun = "run" if len(gathered.runs) == 1 else "runs"
    parts = (f"{len(gathered.runs)} {noun} ({said}).", f"{kinds}." if kinds else "", where)
    return escape(" ".join(part for part in parts if part))


def headline(gathered: Gathered, groups: Sequence[Group]) -> str:
    """Return a card for the best setting of each network and data set, or the reason why there is none."""
    best = best_of(groups)
    if not best:
        said = "No quantized run is finished yet, so there is no comparison with a baseline."
        return f'<p class="read">{said if gathered.runs else "There are no runs yet."}</p>'
    kinds = Counter((group.first.data, group.first.model) for group in groups)
    cards = "".join(_card(group, kinds[kind]) for kind, group in list(best.items())[:_MOST_CARDS])
    return f'<div class="cards">{cards}</div>'


def sections(gathered: Gathered, groups: Sequence[Group], drawing: Drawing) -> str:
    """Return all sections between the headline and the table of runs."""
    made = (
        _settings(groups, drawing),
        _size(groups, drawing),
        _heat(drawing),
        _parallel(drawing),
        _curves(drawing),
        _layers(drawing),
        _weights(drawing),
        published_section(groups, drawing),
        failures_section(gathered.runs),
    )
    return "\n".join(made)


def methods() -> str:
    """Return a summary of how the numbers are computed."""
    read = (
        "Degradation is the test top-1 of the full-precision baseline minus that of the quantized run with the same "
        "seed, in percentage points; it is positive if the quantized network is worse. Means are over the seeds of one "
        "setting. The 95 % confidence interval is that of the mean of these paired differences (Student's t with n - 1 "
        "degrees of freedom); a single seed has none. Settings are selected by validation top-1; the test images are "
        "used once per run. Sizes count whole bits per code and 32 bits for every other parameter. All values of runs "
        "come from their records."
    )
    return section("methods", "Methods", read)


def _card(group: Group, compared: int) -> str:
    found, run = group.degradation, group.first
    how = (
        "validation top-1"
        if chosen_by_validation(group)
        else "test images (optimistic; there are no validation images)"
    )
    seeds = ", ".join(str(one.seed) for one in group.runs)
    facts = [
        ("95 % confidence interval", interval(found.low, found.high) + (" points" if found.low is not None else "")),
        ("seeds", f"{found.n} ({seeds})"),
        ("size", f"{group.ratio:.2f}x smaller, {kilobytes(group.size)}" if group.ratio and group.size else "unknown"),
        ("setting", group.words),
        ("selected by", f"{how}, among {compared} {'setting' if compared == 1 else 'settings'}"),
        ("compared with", "the full-precision run with the same recipe and seed"),
    ]
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    kind = f'<div class="kind">{escape(f"{run.model} on {run.data}, {run.quant}: best setting")}</div>'
    number = f'<p class="big">{points(found.mean)} <small>points degradation, top-1</small></p>'
    link = run_link(run.run_id, "one of its runs")
    return f'<article class="card">{kind}{number}<dl>{lines}</dl>{link}</article>'


def _settings(groups: Sequence[Group], drawing: Drawing) -> str:
    if "settings" not in drawing.charts:
        return ""
    clear = sum((group.degradation.low or 0) > 0 or (group.degradation.high or 0) < 0 for group in groups)
    if not clear:
        found = "no setting differs significantly from its baseline"
    elif clear == 1:
        found = f"1 of {len(groups)} settings differs significantly from its baseline"
    else:
        found = f"{clear} of {len(groups)} settings differ significantly from their baselines"
    title = f"Degradation by setting: {found}"
    read = (
        "One row per setting, least degradation first. Large marks show means over seeds with 95 % confidence "
        "intervals; small marks show individual seeds. If an interval contains 0, the difference from the baseline is "
        "not significant."
    )
    return section("settings", title, read, figure(drawing, "settings"), drawing.notes.get("settings", ""))


def _size(groups: Sequence[Group], drawing: Drawing) -> str:
    if "size" not in drawing.charts:
        return section("size", "Degradation against size", "Nothing to plot: no quantized run is finished yet.")
    title = f"Degradation against size: from {_span([group.degradation.mean for group in groups])}"
    read = (
        "Large marks show means over seeds with 95 % confidence intervals; small marks show individual runs. Rings and "
        "the dashed line mark the Pareto front: no other setting is both smaller and less degraded. Settings of equal "
        "size are drawn side by side. Intervals are clipped at the edge of the chart."
    )
    return section("size", title, read, figure(drawing, "size"), drawing.notes.get("size", ""))


def _heat(drawing: Drawing) -> str:
    if not drawing.maps:
        return ""
    cells = [cell for one in drawing.maps for cell in one.cells]
    axes = f"{drawing.maps[0].y} and {drawing.maps[0].x}"
    title = f"{axes}: mean degradation from {_span([cell.group.degradation.mean for cell in cells])}"
    read = (
        "Blue: better than the baseline; orange: worse. Below each mean, n is the number of seeds; hover over a cell "
        "to see their values."
    )
    least = 100 + _COLUMN_PIXELS * len({str(cell.x) for cell in cells})
    return section("heat", title, read, figure(drawing, "heat", least))


def _parallel(drawing: Drawing) -> str:
    if "parallel" not in drawing.charts:
        return ""
    read = (
        "Each line is a run and crosses every axis at the run's value. Where lines of one colour meet on an axis, that "
        "value is associated with their degradation."
    )
    least = _AXIS_PIXELS * len({row["axis"] for row in drawing.data["ticks"]})
    title = "Settings and degradation of every finished run"
    return section("parallel", title, read, figure(drawing, "parallel", least), drawing.notes.get("parallel", ""))


def _curves(drawing: Drawing) -> str:
    names = [name for name in drawing.charts if name.startswith("curves:")]
    if not names:
        return section("curves", "Training curves", "Nothing to plot: no run has finished an epoch yet.")
    read = (
        "Solid: quantized runs; dashed: their full-precision baselines, each by its own epochs. Use the filter to "
        "select runs; click a curve to open its run."
    )
    body = holder("curves", drawing.charts[names[0]].label)
    title = "Training curves of quantized runs and their baselines"
    return section("curves", title, read, body, drawing.notes.get("curves", ""))


def _layers(drawing: Drawing) -> str:
    names = [name for name in drawing.charts if name.startswith("layers-")]
    if not names:
        return ""
    read = (
        "One line per quantized layer of one run, coloured from the first layer to the last. Thresholds (trained, or "
        "computed by the rule) and scales are in units of the latent weights."
    )
    body = f'<div class="three">{"".join(figure(drawing, name) for name in names)}</div>'
    return section("layers", "Zeros, thresholds and scales of each layer during training", read, body)


def _weights(drawing: Drawing) -> str:
    if "weights" not in drawing.charts:
        return ""
    read = (
        "Histogram of the final latent weights of each layer, in percent of the weights. Dashed: the thresholds. "
        "Weights between them have code 0 (grey); those outside have code +1 (blue) or -1 (orange-red). The outermost "
        "0.1 % are in the bins at the ends."
    )
    body = '<div id="chart-weights" class="small"></div>'
    note = drawing.notes.get("weights", "")
    return section("weights", "Weight distributions and thresholds", read, body, note)


def _span(means: Sequence[float | None]) -> str:
    found = [mean for mean in means if mean is not None]
    return f"{points(min(found))} to {points(max(found))} points"
