"""SVG and PNG files of the charts, for papers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ternlab.core.files import write_bytes, write_text
from ternlab.reports.page.charts_parts import Chart, vega_lite_version
from ternlab.reports.page.charts_theme import paper_config
from ternlab.reports.page.drawing import Drawing

# Text width of a single-column page, at SVG's 96 points per inch.
WIDTH = 560
# Width of a histogram, and the number of histograms per row.
_SMALL_WIDTH = 150
_COLUMNS = 3
# Three pixels per point: 288 per inch.
_SCALE = 3.0

Spec = dict[str, Any]


def write_figures(drawing: Drawing, folder: Path) -> list[Path]:
    """Write every chart to `folder` as SVG and PNG, with captions in `captions.txt`; return the files.

    Charts that the page shows one choice at a time get one file per choice: heat maps, curves, layers of each run.
    """
    import vl_convert

    version = vega_lite_version()
    folder.mkdir(parents=True, exist_ok=True)
    written, captions = [], []
    for name, caption, spec in _figures(drawing):
        svg, png = folder / f"{name}.svg", folder / f"{name}.png"
        write_text(svg, vl_convert.vegalite_to_svg(spec, vl_version=version))
        write_bytes(png, vl_convert.vegalite_to_png(spec, vl_version=version, scale=_SCALE))
        written += [svg, png]
        captions.append(f"{name}: {caption}\n")
    write_text(folder / "captions.txt", "".join(captions))
    return [*written, folder / "captions.txt"]


def _figures(drawing: Drawing) -> Iterator[tuple[str, str, Spec]]:
    """Yield name, caption and Vega-Lite of each figure."""
    for name, chart in drawing.charts.items():
        if name == "heat":
            for place, one in enumerate(drawing.maps):
                yield f"heat-{place + 1}", f"{chart.label} {one.words}".strip(), _spec(chart, drawing, map=place)
        elif name.startswith("layers-"):
            for place, run in enumerate(drawing.close):
                yield f"{name}-{place + 1}", f"{chart.label} Run {run}.", _spec(chart, drawing, run=run)
        elif name == "weights":
            yield from _histograms(chart, drawing)
        else:
            yield name.replace(":", "-").replace("/", "-"), chart.label, _spec(chart, drawing)


def _histograms(chart: Chart, drawing: Drawing) -> Iterator[tuple[str, str, Spec]]:
    """Yield one figure per run, with its layers side by side."""
    for place, run in enumerate(drawing.close):
        layers = dict.fromkeys(row["layer"] for row in drawing.data["bins"] if row["run"] == run)
        if layers:
            parts = [_part(chart, drawing, run, layer) for layer in layers]
            spec = {"config": paper_config(), "concat": parts, "columns": _COLUMNS, "spacing": 18}
            yield f"weights-{place + 1}", f"{chart.label} Vertical axis: percent of the weights. Run {run}.", spec


def _part(chart: Chart, drawing: Drawing, run: str, layer: str) -> Spec:
    rows = [row for row in drawing.data["bins"] if row["run"] == run and row["layer"] == layer]
    part = {name: value for name, value in copy.deepcopy(chart.spec).items() if name != "$schema"}
    return {**_with_rows(part, rows), "width": _SMALL_WIDTH, "height": 80, "title": {"text": layer, "fontSize": 10}}


def _with_rows(spec: Any, rows: list[dict[str, Any]]) -> Any:
    """Return a spec with its named data inlined: side by side, each chart has its own rows."""
    if isinstance(spec, dict):
        return {name: {"values": rows} if name == "data" else _with_rows(value, rows) for name, value in spec.items()}
    return [_with_rows(one, rows) for one in spec] if isinstance(spec, list) else spec


def _spec(chart: Chart, drawing: Drawing, **only: Any) -> Spec:
    spec = copy.deepcopy(chart.spec)
    rows = {name: [row for row in drawing.data[name] if _is(row, only)] for name in chart.data}
    config = paper_config()
    if chart.series:
        config["legend"]["columns"] = max(1, WIDTH // (round(6.3 * chart.series) + 34))
    return {**spec, "config": config, "datasets": rows, "width": WIDTH, "description": chart.label}


def _is(row: dict[str, Any], only: dict[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in only.items() if name in row)
