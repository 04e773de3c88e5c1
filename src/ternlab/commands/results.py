"""`ternlab results`: a table of all runs in a folder; needs no server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ternlab.commands.sweeps import found_plan
from ternlab.core.errors import ExitCode, SettingsError, did_you_mean
from ternlab.core.files import write_bytes
from ternlab.core.user_files import default_path
from ternlab.metrics.registry import BASELINE, DEGRADATION, TEST, VAL
from ternlab.reports.columns import (
    SETTINGS,
    flat_settings,
    matching,
    names_a_setting,
    sorted_by,
    unknown_name,
    with_columns,
)
from ternlab.reports.conditions import parse_condition
from ternlab.reports.formatting import format_value
from ternlab.reports.layout import interval_head
from ternlab.reports.metrics_catalog import RECORD, metrics_of
from ternlab.reports.run_index import read_runs
from ternlab.reports.seed_table import PARTS, WHAT, over_seeds, repeated_seeds
from ternlab.reports.terminal import width
from ternlab.reports.writing import as_lines, rendered
from ternlab.runs.record import Status
from ternlab.sweeps.states import State

_SHOWN = (
    "run_id", "status", TEST, DEGRADATION, "compression/ratio", VAL, "quant/sparsity",
    BASELINE, "epochs", "seconds", "started",
)  # fmt: skip
_SHOWN_OF_GROUPS = (TEST, DEGRADATION, VAL)
# Printed once above the groups when equal for all.
_OF_ALL = ("data", "model")
_OF_GROUPS = ("n", "seeds", *WHAT)
_SUFFIXES = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".md": "markdown"}


def results(chosen: argparse.Namespace) -> ExitCode:
    """Print or write the requested table.

    Raises:
        SettingsError: an option is invalid.
    """
    form = _format(chosen)
    if "/deviation" in (chosen.sort or ""):
        print("warning: the columns .../deviation are called .../std now", file=sys.stderr)
    found = _found(chosen)
    for_people = form in ("table", "markdown")
    typed = matching(words(chosen.columns), found.columns)
    sort = _sort_keys(chosen)
    if chosen.group:
        table = _grouped(found, typed, sort, for_people=for_people)
    else:
        table = sorted_by(found, sort).drop(SETTINGS, strict=False)
        table = table.select(typed or (_default(table) if for_people else table.columns))
    _hand_over(table, form, chosen)
    return ExitCode.DONE


def words(text: str | None) -> list[str]:
    """Return the comma-separated words."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _sort_keys(chosen: argparse.Namespace) -> list[str]:
    """Return the keys of --sort, under the names that columns have today."""
    return [
        key.removesuffix("/deviation") + "/std" if key.endswith("/deviation") else key for key in words(chosen.sort)
    ]


def _found(chosen: argparse.Namespace) -> pl.DataFrame:
    """Return the requested runs, with every column that was typed."""
    condition = parse_condition(chosen.where) if chosen.where else None
    columns, sort = words(chosen.columns), [key.removeprefix("-") for key in _sort_keys(chosen)]
    tested = condition.names() if condition else ()
    kept, keys = ([name for name in names if not _is_later(name, chosen.group)] for names in (columns, sort))
    folder, ids = _folder(chosen)
    # The names alone tell whether a setting is among them, so the records are read only once.
    frame = read_runs(folder, settings=bool(chosen.group) or names_a_setting([*tested, *columns, *keys]))
    for option, names in (("--where", tested), ("--columns", kept), ("--sort", keys)):
        frame = with_columns(frame, names, option)
    frame = _with_patterns(frame, [name for name in columns if "*" in name])
    if ids is not None:
        frame = frame.filter(pl.col("run_id").is_in(ids))
    if chosen.status:
        frame = frame.filter(pl.col("status").is_in(_states(chosen.status)))
    return condition.keep(frame) if condition else frame


def _is_later(name: str, group: str | None) -> bool:
    """Return whether the name is a pattern, or a column that only grouped tables have."""
    of_group = name in ("n", "seeds") or ("/" in name and name.rpartition("/")[2] in PARTS)
    return "*" in name or (group is not None and of_group)


def _with_patterns(frame: pl.DataFrame, patterns: Sequence[str]) -> pl.DataFrame:
    """Add the settings that match a pattern such as `optim.*`."""
    settings = dict.fromkeys(name for values in flat_settings(frame) for name in values) if SETTINGS in frame else {}
    for pattern in patterns:
        if not matching([pattern], [*frame.columns, *settings]) and not frame.is_empty():
            raise unknown_name(pattern, [], "--columns")
    return with_columns(frame, matching(patterns, list(settings)))


def _folder(chosen: argparse.Namespace) -> tuple[Path, list[str] | None]:
    """Return the folder of the runs, and the IDs of the sweep's runs if a sweep was named."""
    if chosen.sweep is None:
        return chosen.runs or Path(default_path("runs")), None
    plan, _ = found_plan(chosen.sweeps, chosen.sweep)
    return chosen.runs or plan.runs, list(plan.run_ids)


def _states(text: str) -> list[str]:
    known = sorted({*map(str, Status), str(State.STOPPED)})
    for word in words(text):
        if word not in known:
            raise SettingsError(
                "--status", value=word, rule="there is no such state", instead=did_you_mean(word, known)
            )
    return words(text)


def _default(table: pl.DataFrame) -> list[str]:
    """Return the default columns, without empty ones, and without the status if all runs are finished."""
    finished = bool((table["status"] == Status.FINISHED).all())
    return [
        name
        for name in _SHOWN
        if table.is_empty() or not (table[name].is_null().all() or (name == "status" and finished))
    ]


def _grouped(found: pl.DataFrame, typed: list[str], sort: list[str], *, for_people: bool) -> pl.DataFrame:
    """Return the sorted groups of the finished runs; metrics are sorted by mean."""
    found = found.filter(pl.col("status") == Status.FINISHED)
    known = [name for name in found.columns if "/" in name]
    metrics = [name for name in typed if name in known] or _metrics_of_groups(found, for_people=for_people)
    needed = dict.fromkeys([*metrics, *(name for key in sort for name in _metric(key, known))])
    also = [name for name in typed if name not in known and name not in _OF_GROUPS]
    groups = over_seeds(found, list(needed), also)
    twice = repeated_seeds(groups)
    if twice:
        what = "these runs differ in the contents of files that the settings name"
        print(f"warning: {twice} groups contain a seed more than once: {what}", file=sys.stderr)
    groups = sorted_by(groups, [_group_key(key, groups) for key in sort])
    hidden = {f"{name}/{part}" for name in needed if name not in metrics for part in PARTS}
    hidden |= {"seeds"} if for_people and "seeds" not in typed else set()
    return groups.drop(hidden)


def _metrics_of_groups(found: pl.DataFrame, *, for_people: bool) -> list[str]:
    if not for_people:
        return list(metrics_of(RECORD))
    return [name for name in _SHOWN_OF_GROUPS if found[name].is_not_null().any()] or [_SHOWN_OF_GROUPS[0]]


def _metric(key: str, metrics: Sequence[str]) -> list[str]:
    """Return the metric of a key: the key itself, or `test/top1` for `test/top1/std`."""
    name = key.removeprefix("-")
    return [one for one in (name, name.rpartition("/")[0]) if one in metrics][:1]


def _group_key(key: str, groups: pl.DataFrame) -> str:
    name = key.removeprefix("-")
    found = f"{name}/mean" if f"{name}/mean" in groups.columns else name
    if found not in groups.columns:
        raise unknown_name(name, groups.columns, "--sort")
    return key.replace(name, found)


def _format(chosen: argparse.Namespace) -> str:
    suffix = _SUFFIXES.get(chosen.out.suffix.lower()) if chosen.out else None
    form: str = chosen.format or suffix or "table"
    if form == "parquet" and chosen.out is None and sys.stdout.isatty():
        raise SettingsError(
            "--format",
            value=form,
            rule="is a binary format, which a terminal cannot show",
            instead="--out FILE.parquet, or a pipe",
        )
    return form


def _hand_over(table: pl.DataFrame, form: str, chosen: argparse.Namespace) -> None:
    if table.is_empty() and form != "table":
        print(_nothing(chosen), file=sys.stderr)
    if chosen.out is not None:
        _write(chosen.out, rendered(table, form))
        print(f"{chosen.out}: {len(table)} rows", file=sys.stderr)
    elif form == "table":
        _print(table, chosen)
    elif form == "parquet":
        data = rendered(table, form)
        assert isinstance(data, bytes)
        sys.stdout.buffer.write(data)
    else:
        print(rendered(table, form), end="")


def _print(table: pl.DataFrame, chosen: argparse.Namespace) -> None:
    if table.is_empty():
        print(_nothing(chosen))
        return
    shared = [name for name in _OF_ALL if chosen.group and not chosen.columns and table[name].n_unique() == 1]
    if shared:
        print(", ".join(f"{name} {format_value(name, table[name][0])}" for name in shared))
    least = None if chosen.columns else 1
    lines, left_out = as_lines(table.drop(shared), width(), least)
    print(*lines, sep="\n")
    if chosen.group:
        counted = f"{table['n'].sum()} finished runs in {len(table)} groups"
        print(f"\n{counted}; {interval_head()}: half-width of the confidence interval of the mean (Student's t)")
    if left_out:
        hint = "use --columns, --format csv or a wider terminal"
        print(f"columns that do not fit: {', '.join(left_out)}; {hint}", file=sys.stderr)


def _nothing(chosen: argparse.Namespace) -> str:
    filtered = chosen.where or chosen.status or chosen.sweep
    what = "finished runs" if chosen.group else "runs"
    return f"no {what} match" if filtered else f"no {what} in {chosen.runs or default_path('runs')}"


def _write(path: Path, text: str | bytes) -> None:
    try:
        write_bytes(path, text if isinstance(text, bytes) else text.encode())
    except OSError as error:
        raise SettingsError(
            "--out",
            value=str(path),
            rule=f"cannot be written ({error.strerror})",
            instead="--out FILE (in a folder that you can write to)",
        ) from error
