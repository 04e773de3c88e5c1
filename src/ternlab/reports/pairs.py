"""Pairs two sets of runs by seed and by all settings in which the sets should not differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from ternlab.core.errors import SettingsError
from ternlab.core.statistics import Summary, paired, summary
from ternlab.reports.columns import flat_settings
from ternlab.reports.run_rows import Flat
from ternlab.reports.schema import as_key, recipes

# Naming one of these in a condition, or one setting of the group, sets the whole group free: rules have options of
# their own, and so have networks and data.
_GROUPS = ("quant", "model", "data")
# A baseline belongs to the quantization.
_WITH_QUANT = "baseline"
_SHOWN = 4


@dataclass(frozen=True)
class Pairs:
    """Runs of two sets that differ in nothing but what the sets are meant to differ in.

    Attributes:
        first, second: IDs of the runs; partners have the same index.
        unpaired: number of runs without a partner in the first and in the second set.
        recipes: number of different settings among the pairs, the seed not counted.
        frame: both sets, by ID.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    unpaired: tuple[int, int]
    recipes: int
    frame: pl.DataFrame

    def seeds(self) -> list[int | None]:
        """Return the seeds of the first runs of the pairs."""
        known = dict(self.frame.select("run_id", "seed").iter_rows())
        return [known[run] for run in self.first]

    def of(self, metric: str) -> tuple[Summary, Summary, Summary]:
        """Return the summaries of the first, the second, and of second minus first, over pairs that both have it."""
        values = dict(self.frame.select("run_id", metric).iter_rows())
        both = [
            (values[one], values[other])
            for one, other in zip(self.first, self.second, strict=True)
            if values[one] is not None and values[other] is not None
        ]
        first, second = ([pair[place] for pair in both] for place in (0, 1))
        difference = paired(dict(enumerate(second)), dict(enumerate(first)))
        return summary(first), summary(second), difference


def paired_runs(frame: pl.DataFrame, first: Iterable[str], second: Iterable[str], varied: Sequence[str]) -> Pairs:
    """Pair two sets of runs.

    Args:
        frame: of `read_runs(..., settings=True)`, with the runs of both sets.
        first, second: their ids.
        varied: columns and settings in which the sets are meant to differ; all others must be equal in a pair, the
            seed among them.

    Raises:
        SettingsError: several runs of a set match one partner, or no runs match; the message names the settings.
    """
    first, second = list(first), list(second)
    both_sets = set(first) & set(second)
    if both_sets:
        rule = f"{len(both_sets)} runs match both conditions, e.g. {min(both_sets)}"
        raise SettingsError("compare", rule=rule, instead="mutually exclusive conditions")
    free = _free_of(varied)
    flats = dict(zip(frame["run_id"], flat_settings(frame), strict=True))
    seeds = {} if "seed" in free else dict(frame.select("run_id", "seed").iter_rows())
    baselines = dict(frame.select("run_id", "baseline_run_id").iter_rows())
    keys = {run: _without(own, free, seeds.get(run)) for run, own in recipes(flats, baselines).items()}
    sides = [_by_key(name, runs, keys, flats) for name, runs in (("A", first), ("B", second))]
    both = [key for key in sides[0] if key in sides[1]]
    if not both:
        raise _nothing_fits(sides, keys)
    pairs = [(sides[0][key], sides[1][key]) for key in both]
    unpaired = (len(sides[0]) - len(both), len(sides[1]) - len(both))
    different = len({as_key({**keys[one], "seed": None}) for one, _ in pairs})
    return Pairs(tuple(one for one, _ in pairs), tuple(other for _, other in pairs), unpaired, different, frame)


def _free_of(varied: Sequence[str]) -> set[str]:
    """Return the settings, or whole groups, that may differ in a pair."""
    groups = {name.partition(".")[0] for name in varied}
    free = {*varied, *(group for group in groups if group in _GROUPS)}
    return free | ({_WITH_QUANT} if "quant" in free else set())


def _without(recipe: Flat, free: set[str], seed: int | None) -> Flat:
    rest = {name: value for name, value in recipe.items() if name not in free and name.partition(".")[0] not in free}
    return {**rest, "seed": seed}


def _by_key(side: str, runs: Iterable[str], keys: dict[str, Flat], flats: dict[str, Flat]) -> dict[str, str]:
    found: dict[str, str] = {}
    for run in runs:
        key = as_key(keys[run])
        if key in found:
            names = _differences(flats[found[key]], flats[run])
            raise SettingsError(
                f"compare {side}",
                rule=f"{found[key]} and {run} match the same partner; they differ in {_listed(names)}",
                instead=f"name one of these settings in {side}",
            )
        found[key] = run
    return found


def _nothing_fits(sides: list[dict[str, str]], keys: dict[str, Flat]) -> SettingsError:
    pairs = [(one, other) for one in list(sides[0].values())[:50] for other in list(sides[1].values())[:50]]
    nearest = min((_differences(keys[one], keys[other]) for one, other in pairs), key=len)
    return SettingsError(
        "compare",
        rule=f"no run of A has a partner in B; the closest two also differ in {_listed(nearest)}",
        instead=f"name {nearest[0]} in both conditions, e.g. '... and {nearest[0]}=VALUE'",
    )


def _differences(one: Flat, other: Flat) -> list[str]:
    return [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "the contents of files") + more
