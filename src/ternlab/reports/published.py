"""Published results, shown next to our own but never mixed with them; `published.json` lists them with sources."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ternlab.reports.seed_groups import Group, best_of


@dataclass(frozen=True)
class Published:
    """One result of a paper.

    Attributes:
        data, model, rule: as they are named here.
        label: the paper's name of the rule.
        full_top1, quantized_top1: percent; `None` where only the difference was published.
        degradation_top1: percentage points, as published, or the difference of the two.
        first_last: `ternary` or `full`: how the first and the last layer are stored; `None` where it is not known.
        source: publication and table of the numbers.
    """

    data: str
    model: str
    rule: str
    label: str
    full_top1: float | None
    quantized_top1: float | None
    degradation_top1: float
    first_last: str | None
    source: str


def published() -> tuple[Published, ...]:
    """Return all published numbers that this package knows."""
    text = files("ternlab.reports").joinpath("published.json").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in json.loads(text))


def beside(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the published rows with our own group of the same data, network and rule, where there is one.

    Rows with a group of ours come first. Of several groups it is the best by validation accuracy.
    """
    # A part of the images is another task.
    whole = [group for group in groups if group.first.settings.get("data.limit_train") is None]
    rows = []
    for one in published():
        same = [group for group in whole if _kind(group) == (one.data, one.model, one.rule)]
        rows.append({"published": one, "ours": next(iter(best_of(same).values()), None)})
    return sorted(rows, key=lambda row: row["ours"] is None)


def _kind(group: Group) -> tuple[str, str, str]:
    return group.first.data, group.first.model, group.first.quant
