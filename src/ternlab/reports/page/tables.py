"""The table sections of the page: published results, and unfinished runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ternlab.reports.load_runs import Run
from ternlab.reports.page.chart_data import points
from ternlab.reports.page.drawing import Drawing
from ternlab.reports.page.parts import figure, run_link, section, table
from ternlab.reports.published import Published, beside
from ternlab.reports.seed_groups import Group
from ternlab.sweeps.states import State

_FAILED = (State.FAILED, State.DIVERGED, State.STOPPED, "interrupted")
_MOST_FAILURES = 200
_MOST_WORDS = 400

_PUBLISHED_HEADS = (
    ("network", ""),
    ("images", ""),
    ("rule", ""),
    ("full precision (%)", "number"),
    ("quantized (%)", "number"),
    ("degradation (points)", "number"),
    ("measured here (points)", "number"),
    ("first and last layer", ""),
    ("source", ""),
)

Cell = tuple[str, str]


def published_section(groups: Sequence[Group], drawing: Drawing) -> str:
    """Return the published numbers next to our own for the same network, data and rule."""
    rows = beside(groups)
    matching = any(row["ours"] for row in rows)
    read = (
        "As published, not measured here. Recipes, full-precision networks and the treatment of the first and last "
        "layers differ. These values do not enter any mean, interval or scale of the other charts."
    )
    if not matching:
        read += " No run here has the same network, data and rule, so there is nothing to compare."
    found = table(_PUBLISHED_HEADS, [_published(row["published"], row["ours"]) for row in rows])
    if matching:
        return section(
            "published", "Published results for the same networks", read, figure(drawing, "published") + found
        )
    folded = f"<details><summary>Show published results</summary>{found}</details>"
    return section("published", "Published results", read, folded)


def failures_section(runs: Iterable[Run]) -> str:
    """Return the runs that ended or were abandoned before they finished; empty if there are none."""
    failed = [run for run in runs if run.state in _FAILED]
    if not failed:
        return ""
    heads = (("state", ""), ("run", ""), ("error", ""), ("log", ""))
    body = table(heads, [_failure(run) for run in failed[:_MOST_FAILURES]])
    note = f"Showing the first {_MOST_FAILURES} of {len(failed)}." if len(failed) > _MOST_FAILURES else ""
    count = "One run is" if len(failed) == 1 else f"{len(failed)} runs are"
    read = "No process is running them. To resume a run, open it and re-run its command."
    return section("failures", f"{count} not finished", read, body, note)


def _published(one: Published, ours: Group | None) -> list[Cell]:
    measured = "" if ours is None else f"{points(ours.degradation.mean)} ({ours.degradation.n} seeds)"
    cells = [
        (one.model, ""),
        (one.data, ""),
        (one.label, ""),
        (_percent(one.full_top1), "number"),
        (_percent(one.quantized_top1), "number"),
        (points(one.degradation_top1), "number"),
        (measured, "number"),
        (one.first_last or "unknown", ""),
        (one.source, "words"),
    ]
    return [(escape(text), kind) for text, kind in cells]


def _percent(value: Any) -> str:
    return "" if value is None else f"{value:.2f}"


def _failure(run: Run) -> list[Cell]:
    words = next(iter(run.error.splitlines()), "") or "none (stopped or killed)"
    return [
        (escape(run.state), f"state {escape(run.state, quote=True)}"),
        (run_link(run.run_id, run.run_id, "mono"), ""),
        (escape(words[:_MOST_WORDS]), "words"),
        (escape(str(run.facts.get("log") or run.path / "log.txt")), "words mono"),
    ]
