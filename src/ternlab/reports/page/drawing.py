"""All charts of a report with their data, and the notes on what is not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ternlab.reports.load_runs import Gathered, Run, value_of
from ternlab.reports.page import chart_data as rows_of
from ternlab.reports.page.charts import heat_map, parallel, published_chart, settings_chart, size_chart
from ternlab.reports.page.charts_parts import Chart
from ternlab.reports.page.charts_training import (
    CURVE_NAMES,
    LAYER_QUANTITIES,
    curve_chart,
    histogram_chart,
    layer_chart,
)
from ternlab.reports.page.histograms import MOST_LAYERS, histogram_rows
from ternlab.reports.published import beside
from ternlab.reports.seed_groups import Group, HeatMap, heat_maps, words_of
from ternlab.reports.series import MOST_EPOCHS, best_runs, curve_rows, layer_rows

Row = dict[str, Any]
# More settings than this cannot be distinguished by colour; their rules are used instead.
_MOST_SERIES = 7
# Significant digits of plotted values; the values of the runs themselves are never rounded.
_DIGITS = 6


@dataclass
class Drawing:
    """Charts and their data.

    Attributes:
        charts: by name; `curves` has one chart per quantity, named after a colon.
        data: rows, by the data names of the charts.
        maps: heat maps, in the order of the numbers in their cells.
        close: runs shown layer by layer.
        notes: notes on what is not shown, by section name.
    """

    charts: dict[str, Chart] = field(default_factory=dict)
    data: dict[str, list[Row]] = field(default_factory=dict)
    maps: tuple[HeatMap, ...] = ()
    close: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


def draw(gathered: Gathered, groups: Sequence[Group], *, curves: int, weights: int) -> Drawing:
    """Return the charts of a report.

    Args:
        gathered: all runs.
        groups: groups of the finished quantized runs, best first.
        curves: number of runs with training curves.
        weights: number of runs shown layer by layer.
    """
    drawing = Drawing()
    if groups:
        _draw_size(drawing, groups)
        _draw_heat(drawing, gathered, groups)
        _draw_parallel(drawing, gathered, groups)
    _draw_curves(drawing, gathered, groups, curves)
    _draw_layers(drawing, gathered, groups, weights)
    _draw_published(drawing, groups)
    return drawing


def _draw_size(drawing: Drawing, groups: Sequence[Group]) -> None:
    drawing.data["groups"] = rows_of.group_rows(groups)
    drawing.data["points"] = rows_of.point_rows(groups)
    drawing.data["references"] = rows_of.reference_rows(groups)
    if drawing.data["points"]:
        values = [0.0, *(row["degradation"] for row in drawing.data["points"])]
        spare = max(0.25, 0.1 * (max(values) - min(values)))
        rules = sorted({row["rule"] for row in drawing.data["points"]})
        drawing.charts["size"] = size_chart(rules, reach=(min(values) - spare, max(values) + spare))
        _draw_settings(drawing, groups, rules)
        if sum(row["beside"] for row in drawing.data["groups"]) < len(groups):
            drawing.notes["size"] = f"Means are shown for the {rows_of.MOST_OF_A_SIZE} best settings of each size."


def _draw_settings(drawing: Drawing, groups: Sequence[Group], rules: list[str]) -> None:
    names = [row["group"] for row in drawing.data["groups"] if row["row"] is not None]
    values = [0.0, *(row["degradation"] for row in drawing.data["points"] if row["row"] is not None)]
    spare = max(0.25, 0.06 * (max(values) - min(values)))
    drawing.charts["settings"] = settings_chart(names, rules, reach=(min(values) - spare, max(values) + spare))
    if len(names) < len(groups):
        drawing.notes["settings"] = f"Showing the {len(names)} settings with the least degradation, of {len(groups)}."


def _draw_heat(drawing: Drawing, gathered: Gathered, groups: Sequence[Group]) -> None:
    drawing.maps = heat_maps(groups, gathered.axes)
    if not drawing.maps:
        return
    cells = drawing.data["cells"] = rows_of.cell_rows(drawing.maps)
    found = [cell for one in drawing.maps for cell in one.cells]
    columns, lines = rows_of.ordered(cell.x for cell in found), rows_of.ordered(cell.y for cell in found)
    reach = rows_of.reach_of(cell["mean"] for cell in cells)
    drawing.charts["heat"] = heat_map(drawing.maps[0].x, drawing.maps[0].y, columns, lines, reach)


def _draw_parallel(drawing: Drawing, gathered: Gathered, groups: Sequence[Group]) -> None:
    # Best first, so that the worst ones are left out.
    ranked = [(run, group) for group in groups for run in group.runs]
    names = [name for name in dict.fromkeys(("data", "model", "quant", *gathered.axes)) if _differs(ranked, name)]
    if not names or len(ranked) < 2:
        return
    shown = ranked[: rows_of.MOST_LINES]
    words = {run.run_id: group.words for run, group in shown}
    axes = names[: rows_of.MOST_AXES]
    lines, ticks = rows_of.line_rows([run for run, _ in shown], words, axes)
    drawing.data |= {"lines": lines, "ticks": ticks}
    values = sorted(row["degradation"] for row in lines)
    # A single collapsed run would give all others the same colour.
    reach = values[0], max(values[int(0.9 * (len(values) - 1))], values[0] + 0.1)
    drawing.charts["parallel"] = parallel(list(dict.fromkeys(row["axis"] for row in ticks)), reach, len(shown))
    notes = []
    if len(shown) < len(ranked):
        notes.append(f"Showing {len(shown)} of {len(ranked)} runs: those of the settings with the least degradation.")
    if len(axes) < len(names):
        notes.append(f"Axes not shown: {', '.join(names[len(axes) :])}.")
    drawing.notes["parallel"] = " ".join(notes)


def _draw_curves(drawing: Drawing, gathered: Gathered, groups: Sequence[Group], most: int) -> None:
    chosen = best_runs(groups, gathered.runs, most)
    known = {run.run_id: run for run in gathered.runs}
    words = _words(groups)
    rows: list[Row] = []
    for run in chosen:
        about = {"group": words.get(run.run_id) or words_of(run, gathered.axes) or run.quant, "seed": run.seed}
        rows += [{**row, **about, "rule": run.quant} for row in curve_rows(run, "quantized")]
    baselines = dict.fromkeys(run.baseline for run in chosen if run.baseline in known)
    if not chosen:
        # There are no quantized runs (yet): only full precision.
        baselines = dict.fromkeys([run.run_id for run in gathered.runs if not run.quantized][:most])
    for name in baselines:
        about = {"group": "full-precision baseline", "seed": known[str(name)].seed, "rule": "none"}
        rows += [{**row, **about} for row in curve_rows(known[str(name)], "baseline")]
    names = list(dict.fromkeys(row["group"] for row in rows if row["role"] == "quantized"))
    by = "group" if len(names) <= _MOST_SERIES else "rule"
    series = sorted(dict.fromkeys(row[by] for row in rows if row["role"] == "quantized"))
    drawing.data["curves"] = [{**_rounded(row), "line": row[by]} for row in rows]
    last = max((row["epoch"] for row in rows), default=0)
    for quantity in CURVE_NAMES:
        if any(row[quantity] is not None for row in rows):
            dashed = any(row["role"] == "baseline" for row in rows)
            drawing.charts[f"curves:{quantity}"] = curve_chart(quantity, series, last, baselines=dashed)
    drawing.notes["curves"] = _note_of_curves(chosen, gathered.runs, rows)


def _note_of_curves(chosen: Sequence[Run], runs: Sequence[Run], rows: Sequence[Row]) -> str:
    notes = []
    begun = sum(run.quantized and run.state != "waiting" for run in runs)
    if len(chosen) < begun:
        notes.append(f"Showing {len(chosen)} of {begun} quantized runs: the best by validation accuracy, seed by seed.")
    if rows and max(row["epoch"] for row in rows) > MOST_EPOCHS:
        notes.append(f"Longer runs are thinned out to {MOST_EPOCHS} epochs.")
    return " ".join(notes)


def _draw_layers(drawing: Drawing, gathered: Gathered, groups: Sequence[Group], most: int) -> None:
    layers: list[Row] = []
    bins: list[Row] = []
    for run in best_runs(groups, gathered.runs, most):
        found = layer_rows(run)
        layers += [_rounded({**row, "sparsity": _percent(row["sparsity"])}) for row in found]
        bins += [_rounded(_bin(row)) for row in histogram_rows(run)]
    drawing.close = tuple(dict.fromkeys(row["run"] for row in layers))
    drawing.data |= {"layers": layers, "bins": bins}
    for quantity in LAYER_QUANTITIES:
        if any(row[quantity] is not None for row in layers):
            drawing.charts[f"layers-{quantity}"] = layer_chart(quantity, max(row["epoch"] for row in layers))
    if bins:
        drawing.charts["weights"] = histogram_chart()
    names = {row["layer"] for row in layers}
    if len(names) > MOST_LAYERS:
        drawing.notes["weights"] = f"Showing {MOST_LAYERS} of {len(names)} layers, evenly spaced from first to last."


def _draw_published(drawing: Drawing, groups: Sequence[Group]) -> None:
    rows: list[Row] = []
    for pair in beside(groups):
        one, ours = pair["published"], pair["ours"]
        if ours is not None:
            name = f"{one.model}, {one.label}, {one.data}"
            rows.append({"row": name, "kind": "published", "degradation": one.degradation_top1, "source": one.source})
            found = {
                "degradation": ours.degradation.mean,
                "source": f"mean over {ours.degradation.n} seeds, {ours.words}",
            }
            rows.append({"row": name, "kind": "measured here", **found})
    if rows:
        drawing.data["published"] = rows
        drawing.charts["published"] = published_chart(list(dict.fromkeys(row["row"] for row in rows)))


def _bin(row: Row) -> Row:
    code = {None: "no zero", 1: "+1"}.get(row["code"], str(row["code"]))
    span = f"{row['low']:.3g} to {row['high']:.3g}"
    kept = {name: row[name] for name in ("run", "layer", "place", "low", "high", "below", "above")}
    return {**kept, "percent": 100 * row["share"], "zeros": _percent(row["zeros"]), "code": code, "from": span}


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _words(groups: Sequence[Group]) -> dict[str, str]:
    return {run.run_id: group.words for group in groups for run in group.runs}


def _differs(ranked: Sequence[tuple[Run, Group]], name: str) -> bool:
    return len({str(value_of(run, name)) for run, _ in ranked}) > 1


def _rounded(row: Row) -> Row:
    return {name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for name, value in row.items()}
