"""All runs in a folder as one table; only changed records are read again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from ternlab.core.errors import SettingsError, StorageError
from ternlab.reports.metrics_catalog import RECORD, metrics_of
from ternlab.reports.run_index_file import STAMP, empty_index, load_index, save_index
from ternlab.reports.run_rows import RUN_COLUMNS, Row, encodable, flat_config, record_row
from ternlab.runs.directory import ASIDE, run_directory
from ternlab.runs.record import Status, read_record
from ternlab.sweeps.states import State

# Of fewer runs, settings are read in less than a second.
_MANY = 1000

Warn = Callable[[str], None]


def warn_on_stderr(message: str) -> None:
    """Print a warning where it does not disturb a table in a pipe."""
    from ternlab.reports.terminal import visible

    print(f"warning: {visible(message)}", file=sys.stderr)


def read_runs(folder: Path, *, settings: bool = False, warn: Warn = warn_on_stderr) -> pl.DataFrame:
    """Return a row for each run below `folder`, by ID.

    Columns are those of `RUN_COLUMNS`, every metric that a record may have (null where it has none), and others
    that records have. A run that says `running` and that no process holds is `stopped`. An index next to the runs
    makes the next reading fast; a folder that cannot be written is read without one.

    Args:
        folder: folder of the runs.
        settings: add the column `settings`: each run's settings as JSON by dotted names (see `with_settings`).
        warn: called for each unreadable record; such runs are left out.

    Raises:
        SettingsError: there is no such folder.
    """
    seen = _stamps(folder, warn)
    index = load_index(folder)
    kept = index.join(seen, on=list(STAMP), how="semi")
    new = seen.join(index, on=list(STAMP), how="anti")
    rows = list(_read(folder, new.iter_rows(named=True), warn))
    found = pl.concat([kept, _frame(rows)], how="diagonal").sort("run_id") if rows else kept
    if settings:
        found, more = _with_config(folder, found, warn)
    if rows or len(kept) != len(index) or (settings and more):
        save_index(folder, found)
    return _finished(folder, found, settings)


def _stamps(folder: Path, warn: Warn) -> pl.DataFrame:
    rows = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SettingsError(
            "--runs", value=str(folder), rule=f"cannot be read ({error.strerror})", instead="--runs FOLDER"
        ) from error
    for entry in entries:
        if ASIDE in entry.name or entry.name.startswith("."):
            continue
        try:
            stat = os.stat(os.path.join(entry.path, "record.json"))  # noqa: PTH116 - a Path each costs as much as the rest
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            warn(f"{entry.path}: skipped ({error.strerror})")
            continue
        if encodable(entry.name) != entry.name:
            warn(f"{entry.path}: skipped (its name is not UTF-8)")
            continue
        rows.append((entry.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return pl.DataFrame(rows, schema=STAMP, orient="row")


def _read(folder: Path, stamps: Iterable[dict[str, Any]], warn: Warn) -> Iterable[Row]:
    for stamp in stamps:
        try:
            record = read_record(folder / stamp["run_id"] / "record.json")
        except (StorageError, RecursionError) as error:
            warn(f"{folder / stamp['run_id']}: skipped ({str(error).splitlines()[0]})")
            continue
        if record is not None:
            yield {**record_row(stamp["run_id"], record), **stamp}


def _frame(rows: list[Row]) -> pl.DataFrame:
    metrics = dict.fromkeys(name for row in rows for name in row if name not in RUN_COLUMNS and name not in STAMP)
    schema = {**empty_index().schema, **dict.fromkeys(metrics, pl.Float64)}
    columns = {name: [row.get(name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema)


def _with_config(folder: Path, index: pl.DataFrame, warn: Warn) -> tuple[pl.DataFrame, int]:
    """Read the settings of the runs whose settings were not asked for before; also return of how many."""
    missing = index.filter(pl.col("settings").is_null())["run_id"].to_list()
    read: dict[str, str] = {}
    if len(missing) > _MANY and sys.stderr.isatty():
        print(f"reading the settings of {len(missing):,} runs (they will be indexed for next time)", file=sys.stderr)
    for run_id in missing:
        try:
            read[run_id] = json.dumps(flat_config(folder / run_id / "config.yaml"), separators=(",", ":"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            warn(f"{folder / run_id / 'config.yaml'}: is not readable ({reason})")
    known = [read.get(run_id, text) for run_id, text in index.select("run_id", "settings").iter_rows()]
    return index.with_columns(pl.Series("settings", known, dtype=pl.String)), len(read)


def _finished(folder: Path, index: pl.DataFrame, settings: bool) -> pl.DataFrame:
    """Return the columns that readers see, with the states that only locks tell."""
    running = index.filter(pl.col("status") == Status.RUNNING)["run_id"].to_list()
    stopped = [run_id for run_id in running if not run_directory(folder, run_id).lock().held()]
    state = pl.when(pl.col("run_id").is_in(stopped)).then(pl.lit(str(State.STOPPED))).otherwise(pl.col("status"))
    metrics = dict.fromkeys([*metrics_of(RECORD), *(name for name in index.columns if "/" in name)])
    missing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in metrics if name not in index.columns]
    shown = [*RUN_COLUMNS, *metrics, *(["settings"] if settings else [])]
    return index.with_columns(state.alias("status"), *missing).select(shown)
