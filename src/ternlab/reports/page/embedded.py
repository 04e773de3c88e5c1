"""The page's data as one JSON object: runs with the values of their records, charts and their data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ternlab.reports.load_runs import Gathered, Run, value_of
from ternlab.reports.page.charts_theme import page_config
from ternlab.reports.page.charts_training import CURVE_NAMES
from ternlab.reports.page.drawing import Drawing
from ternlab.reports.schema import differing
from ternlab.reports.seed_groups import Group, words_of

_FACTS = ("epochs", "seconds", "started", "host", "cpu")


def page_json(gathered: Gathered, groups: Sequence[Group], drawing: Drawing) -> str:
    """Return the object as text that is safe inside a script element."""
    words = {run.run_id: group.words for group in groups for run in group.runs}
    recipes: dict[str, int] = {}
    runs = [_run(run, gathered, words, recipes) for run in gathered.runs]
    charts = {
        name: {"label": chart.label, "spec": chart.spec, "data": chart.data, "series": chart.series}
        for name, chart in drawing.charts.items()
    }
    whole = {
        "runs": folded(runs),
        # Seeds share their settings, which are stored once.
        "recipes": [json.loads(text) for text in recipes],
        "groups": folded([_group(group) for group in groups]),
        "charts": charts,
        "data": {name: folded(rows) for name, rows in drawing.data.items()},
        "maps": [one.words for one in drawing.maps],
        "close": drawing.close,
        "curves": CURVE_NAMES,
        "config": page_config(),
    }
    return in_script(whole)


def folded(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows with their column names stored once."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {"columns": columns, "rows": [[row.get(name) for name in columns] for row in rows]}


def in_script(value: Any) -> str:
    """Return JSON that cannot end a script element, start a comment, or break a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _run(run: Run, gathered: Gathered, words: Mapping[str, str], recipes: dict[str, int]) -> dict[str, Any]:
    own = {name: value for name, value in differing(run.settings).items() if name != "seed"}
    place = recipes.setdefault(json.dumps(own, sort_keys=True), len(recipes))
    axes = {name: value_of(run, name) for name in gathered.axes} if run.quantized else {}
    said = words.get(run.run_id) or words_of(run, gathered.axes if run.quantized else ()) or _kind(run)
    return {
        "run_id": run.run_id,
        "state": run.state,
        "data": run.data,
        "model": run.model,
        "quant": run.quant,
        "seed": run.seed,
        "words": said,
        "baseline": run.baseline,
        "command": run.command,
        "error": run.error,
        "path": str(run.path),
        "metrics": dict(run.metrics),
        "axes": {name: value for name, value in axes.items() if value is not None},
        "recipe": place,
        "facts": {name: run.facts.get(name) for name in _FACTS},
    }


def _kind(run: Run) -> str:
    return run.quant if run.quantized else "full precision"


def _group(group: Group) -> dict[str, Any]:
    found = group.degradation
    return {
        "words": group.words,
        "runs": [run.run_id for run in group.runs],
        "n": found.n,
        "mean": found.mean,
        "std": found.std,
        "low": found.low,
        "high": found.high,
        "val": group.choice.mean,
        "test": group.test.mean,
        "size": group.size,
        "ratio": group.ratio,
    }
