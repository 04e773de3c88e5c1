"""Groups of runs that differ only in the seed: their means, the best group, the Pareto front, the heat maps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ternlab.core.statistics import Summary, summary
from ternlab.metrics.registry import DEGRADATION, TEST, VAL
from ternlab.reports.load_runs import Run, value_of

CHOICE = VAL
SIZE = "size/quantized_bytes"

# More values than this on an axis are no grid.
MOST_VALUES = 24
_PREFERRED = ("quant.threshold.init", "optim.lr")


@dataclass(frozen=True)
class Group:
    """Finished quantized runs that differ only in the seed.

    Attributes:
        key: key of the recipe.
        words: the settings in which this group differs from others.
        runs: its members, by seed.
        degradation: of top-1, percentage points; paired: each run against the baseline of its own seed.
        choice: validation top-1, percent; `mean` is `None` without validation images.
        test: test top-1, percent.
        size: bytes of the quantized network.
        ratio: bytes in full precision over `size`.
    """

    key: str
    words: str
    runs: tuple[Run, ...]
    degradation: Summary
    choice: Summary
    test: Summary
    size: float | None
    ratio: float | None

    @property
    def first(self) -> Run:
        """A member: what is not the seed's is the same in all."""
        return self.runs[0]


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map."""

    x: Any
    y: Any
    group: Group


@dataclass(frozen=True)
class HeatMap:
    """Mean degradation over two settings, all others equal.

    Attributes:
        x, y: names of the settings.
        words: the other settings that differ from one map to the next.
        cells: at most one for each pair of values.
    """

    x: str
    y: str
    words: str
    cells: tuple[Cell, ...]


def groups_of(runs: Iterable[Run], axes: Sequence[str]) -> tuple[Group, ...]:
    """Return the groups of the finished quantized runs that have a degradation, least mean degradation first."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        if run.finished and run.quantized and DEGRADATION in run.metrics:
            members.setdefault(run.recipe, []).append(run)
    names = _telling(members.values(), axes)
    groups = [_group(key, found, names) for key, found in members.items()]
    return tuple(sorted(groups, key=lambda group: (group.degradation.mean, group.words)))


def words_of(run: Run, names: Iterable[str]) -> str:
    """Return `name=value` of the settings that a run has."""
    found = [(name, value_of(run, name)) for name in names]
    return " ".join(f"{name}={shown_value(value)}" for name, value in found if value is not None)


def shown_value(value: Any) -> str:
    """Return a setting's value as it is typed, without spaces in lists."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def best_of(groups: Iterable[Group]) -> dict[tuple[str, str], Group]:
    """Return the best group of each (data, network): by validation top-1, or else by degradation.

    The degradation is of the test images. Whoever chose by it would report the luckiest setting, not the best.
    """
    kinds: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        kinds.setdefault((group.first.data, group.first.model), []).append(group)
    return {kind: max(found, key=_rank(found)) for kind, found in kinds.items()}


def chosen_by_validation(group: Group) -> bool:
    """Return whether a group has what it is chosen by; without, only the test images are left."""
    return group.choice.mean is not None


def pareto_front(groups: Iterable[Group]) -> set[str]:
    """Return the keys of the groups that no other one of the same data beats in size and mean degradation."""
    by_data: dict[str, list[Group]] = {}
    for group in groups:
        if group.size is not None:
            by_data.setdefault(group.first.data, []).append(group)
    front: set[str] = set()
    for found in by_data.values():
        least = math.inf
        for group in sorted(found, key=lambda one: (one.size, one.degradation.mean)):
            if group.degradation.mean is not None and group.degradation.mean < least:
                least = group.degradation.mean
                front.add(group.key)
    return front


def heat_maps(groups: Sequence[Group], axes: Sequence[str]) -> tuple[HeatMap, ...]:
    """Return a map for each combination of the other settings, the fullest first; none without two axes of a grid.

    The axes are first threshold and learning rate where both differ, else the first two of `axes` that do.
    """
    fitting = [name for name in (*_PREFERRED, *axes) if 2 <= len(_values(groups, name)) <= MOST_VALUES]
    names = list(dict.fromkeys(fitting))[:2]
    if len(names) < 2:
        return ()
    y, x = names
    others = [name for name in ("data", "model", "quant", *axes) if name not in (x, y)]
    maps: dict[str, list[Cell]] = {}
    varied = [name for name in dict.fromkeys(others) if len(_values(groups, name)) > 1]
    for group in groups:
        at = value_of(group.first, x), value_of(group.first, y)
        if None not in at:
            maps.setdefault(words_of(group.first, varied), []).append(Cell(*at, group))
    found = [HeatMap(x, y, words, tuple(cells)) for words, cells in maps.items()]
    return tuple(sorted(found, key=lambda one: (-len(one.cells), one.words)))


def _rank(groups: Sequence[Group]) -> Any:
    if all(chosen_by_validation(group) for group in groups):
        return lambda group: (group.choice.mean, -group.degradation.mean)
    return lambda group: -group.degradation.mean


def _telling(members: Iterable[Sequence[Run]], axes: Sequence[str]) -> list[str]:
    """Return the names by which groups are told apart: data, network and rule where they differ, and the axes."""
    firsts = [found[0] for found in members]
    kinds = [name for name in ("data", "model", "quant") if len({getattr(run, name) for run in firsts}) > 1]
    names = [*kinds, *(name for name in axes if len({shown_value(value_of(run, name)) for run in firsts}) > 1)]
    return list(dict.fromkeys(names))


def _group(key: str, runs: list[Run], names: Sequence[str]) -> Group:
    runs = sorted(runs, key=lambda run: (run.seed if run.seed is not None else -1, run.run_id))
    metrics = runs[0].metrics
    return Group(
        key=key,
        words=words_of(runs[0], names) or runs[0].quant,
        runs=tuple(runs),
        degradation=_summary(runs, DEGRADATION),
        choice=_summary(runs, CHOICE),
        test=_summary(runs, TEST),
        size=metrics.get(SIZE),
        ratio=metrics.get("compression/ratio"),
    )


def _summary(runs: Iterable[Run], name: str) -> Summary:
    return summary([run.metrics[name] for run in runs if name in run.metrics])


def _values(groups: Iterable[Group], name: str) -> set[str]:
    return {shown_value(value) for group in groups if (value := value_of(group.first, name)) is not None}
