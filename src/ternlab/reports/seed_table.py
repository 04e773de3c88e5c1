"""Groups runs that differ only in the seed: count, mean, standard deviation and 95 % confidence interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from ternlab.core.statistics import half_widths
from ternlab.reports.columns import column_of, flat_settings
from ternlab.reports.run_rows import Flat
from ternlab.reports.schema import as_key, defaults_for, recipes

WHAT = ("data", "model", "quant")
# What a metric becomes in a group, behind its name.
PARTS = ("n", "mean", "std", "low", "high")
# Said by `data`, `model` and `quant` already.
_NAMED = ("data.name", "model.name", "quant.name")


def over_seeds(frame: pl.DataFrame, metrics: Sequence[str], also: Sequence[str] = ()) -> pl.DataFrame:
    """Return one row per group of runs that differ only in the seed.

    Columns: `data`, `model`, `quant`, the settings in which groups of the same three differ, `n` (runs), `seeds`,
    and for each metric its number of values, mean, sample standard deviation and the ends of the 95 % interval of the
    mean (Student's t), as `test/top1/mean` and so on.

    Args:
        frame: of `read_runs(..., settings=True)`.
        metrics: numeric columns of it.
        also: other columns of it that are kept; null in groups whose runs differ in them.
    """
    flats = flat_settings(frame)
    keyed = with_recipes(frame, flats).with_row_index("row")
    groups = keyed.group_by("recipe", maintain_order=True).agg(
        *(pl.col(name).first() for name in (*WHAT, "row")),
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("seed").sort().cast(pl.String).str.join(",").alias("seeds"),
        *(_common(name) for name in also if name not in WHAT),
        *_aggregates(metrics),
    )
    firsts = [flats[row] for row in groups["row"]]
    varying = _varying([tuple(row) for row in groups.select(WHAT).iter_rows()], firsts)
    varying = [name for name in varying if name not in also]
    added = [column_of(name, [_value(values, name) for values in firsts]) for name in varying]
    groups = groups.with_columns(*added, *_intervals(groups, metrics))
    parts = [f"{name}/{part}" for name in metrics for part in PARTS]
    return groups.select(list(dict.fromkeys([*WHAT, *also, *varying, "n", "seeds", *parts])))


def with_recipes(frame: pl.DataFrame, flats: Sequence[Flat]) -> pl.DataFrame:
    """Add the column `recipe`: text that is equal for runs that differ in nothing but the seed."""
    ids = frame["run_id"].to_list()
    found = recipes(dict(zip(ids, flats, strict=True)), dict(frame.select("run_id", "baseline_run_id").iter_rows()))
    # A run whose settings are not readable is a group of its own.
    keys = [as_key(found[run]) if values else run for run, values in zip(ids, flats, strict=True)]
    return frame.with_columns(pl.Series("recipe", keys, dtype=pl.String))


def repeated_seeds(groups: pl.DataFrame) -> int:
    """Return how many groups of `over_seeds` have a seed more than once: their runs differ in contents of files."""
    return int((groups["seeds"].str.split(",").list.n_unique() < groups["n"]).sum())


def _common(name: str) -> pl.Expr:
    return pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name)


def _aggregates(metrics: Iterable[str]) -> Iterable[pl.Expr]:
    for name in metrics:
        yield pl.col(name).count().cast(pl.Int64).alias(f"{name}/n")
        yield pl.col(name).mean().alias(f"{name}/mean")
        yield pl.col(name).std(ddof=1).alias(f"{name}/std")


def _intervals(groups: pl.DataFrame, metrics: Iterable[str]) -> Iterable[pl.Series]:
    for name in metrics:
        mean = groups[f"{name}/mean"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        std = groups[f"{name}/std"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        half = half_widths(groups[f"{name}/n"].to_numpy(), std)
        yield pl.Series(f"{name}/low", mean - half).fill_nan(None)
        yield pl.Series(f"{name}/high", mean + half).fill_nan(None)


def _varying(named: Sequence[tuple[str, ...]], settings: Sequence[Flat]) -> list[str]:
    """Return the settings that tell groups of the same data, model and rule apart."""
    from ternlab.reports.schema import recipe

    first: dict[tuple[str, ...], Flat] = {}
    own: dict[tuple[str, ...], set[str]] = {}
    found: dict[str, None] = {}
    for key, values in zip(named, settings, strict=True):
        known = first.setdefault(key, values)
        names = own.setdefault(key, set())
        names |= recipe(values).keys()
        found |= dict.fromkeys(name for name in sorted(names) if _value(known, name) != _value(values, name))
    return [name for name in found if name not in _NAMED]


def _value(settings: Flat, name: str) -> object:
    return settings.get(name, defaults_for(settings).get(name))
