"""Removes runs: checks what prevents a removal, and never leaves a partially removed run."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import polars as pl

from ternlab.core.errors import RunHeldError, SettingsError, StorageError
from ternlab.reports.run_index import read_runs
from ternlab.runs.directory import ASIDE, RunDirectory
from ternlab.runs.record import Status
from ternlab.sweeps.plan import read_plan

# Readers skip moved-aside folders; the existence of one of these means that its removal has started.
_REMOVED = f"{ASIDE}removed-"
_NAMED = 5


def check_unreferenced(directories: Sequence[RunDirectory], runs: Path) -> None:
    """Refuse to remove a run (a baseline, a teacher) that is needed by runs which are not removed with it.

    Raises:
        SettingsError: there is such a run; the message names the runs that need it.
    """
    leaving = {directory.run_id for directory in directories}
    frame = read_runs(runs, settings=True).filter(~pl.col("run_id").is_in(list(leaving)))
    for directory in directories:
        others = _needing(frame, directory.run_id)
        if others:
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            raise SettingsError(
                "run",
                value=directory.run_id,
                rule=f"is needed by {', '.join(others[:_NAMED])}{more}",
                instead="keep it, or name those runs too",
            )


def _needing(frame: pl.DataFrame, run_id: str) -> list[str]:
    """Return the runs that need `run_id`, or that were told to take it as their baseline."""
    typed = pl.col("settings").str.json_path_match("$['baseline.run']").fill_null("")
    # It may have been typed as a beginning, an ending, or a folder.
    name = typed.str.split("/").list.last()
    told = (name != "") & (pl.lit(run_id).str.starts_with(name) | pl.lit(run_id).str.ends_with(name))
    needed = pl.col("needs").str.split(",").list.eval(pl.element().str.split(":").list.last()).list.contains(run_id)
    # Records of earlier versions have no needs.
    needs_it = needed.fill_null(value=False) | (pl.col("baseline_run_id") == run_id).fill_null(value=False)
    found: list[str] = frame.filter(needs_it | told)["run_id"].to_list()
    return found


def unfinished_sweeps(directories: Sequence[RunDirectory], runs: Path, sweeps: Path) -> dict[str, list[str]]:
    """Return the runs to be removed that are in the plan of a sweep of which a run is not finished, by sweep."""
    leaving = {directory.run_id for directory in directories}
    finished = set(read_runs(runs).filter(pl.col("status") == Status.FINISHED)["run_id"])
    found: dict[str, list[str]] = {}
    for path in sorted(sweeps.glob("*/plan.json")):
        try:
            plan = read_plan(path)
        except (StorageError, SettingsError):
            continue
        planned = set(plan.run_ids)
        if planned & leaving and not planned <= finished:
            found[plan.sweep_id] = sorted(planned & leaving)
    return found


@contextlib.contextmanager
def all_held(directories: Iterable[RunDirectory]) -> Iterator[None]:
    """Hold all runs while the block runs, so that nobody trains or exports there.

    Raises:
        RunHeldError: another process holds one.
    """
    with contextlib.ExitStack() as stack:
        for directory in directories:
            try:
                stack.enter_context(directory.lock())
            except OSError as error:
                raise StorageError(f"{directory.path}: cannot be locked ({error.strerror}).") from error
        yield


def remove_run(directory: RunDirectory) -> None:
    """Remove the folder of a run, which this process holds.

    It is renamed first, to a name that all readers leave out, and then loses its record: a removal that is killed
    leaves either the whole run or none.

    Raises:
        StorageError: it cannot be removed.
    """
    aside = directory.path.with_name(f"{directory.run_id}{_REMOVED}{uuid.uuid4().hex[:12]}")
    try:
        directory.path.rename(aside)
        RunDirectory(aside).record_file.unlink(missing_ok=True)
        # Another removal may be tidying up after this one already.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(f"{directory.path}: cannot be removed ({error.strerror}).") from error


def remove_leftovers(runs: Path) -> None:
    """Remove what a removal that was killed has left."""
    for path in runs.glob(f"*{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)


def check_free(directories: Iterable[RunDirectory]) -> None:
    """Refuse runs that another process works on, before anything is asked.

    Raises:
        RunHeldError: one is; it is named.
    """
    for directory in directories:
        holder = directory.lock().holder()
        if holder is not None:
            raise RunHeldError(
                f"The run in {directory.path} is held by process {holder['pid']} on {holder['host']}.\n"
                "  instead: wait for it, or stop it (it saves its state)"
            )


def size_of(directory: RunDirectory) -> int:
    """Return the bytes of all files of a run."""
    return sum(path.lstat().st_size for path in directory.path.rglob("*") if path.is_file() and not path.is_symlink())


def in_removal_order(directories: Sequence[RunDirectory]) -> list[RunDirectory]:
    """Return each run before those that it needs: a removal that is killed leaves no run without its baseline."""
    by_id = {directory.run_id: directory for directory in directories}
    needing: dict[str, set[str]] = {run: set() for run in by_id}
    for directory in directories:
        for needed in _needs(directory) & by_id.keys():
            needing[needed].add(directory.run_id)
    try:
        return [by_id[run] for run in TopologicalSorter(needing).static_order()]
    except CycleError:
        # Only records that were edited have one.
        return list(directories)


def _needs(directory: RunDirectory) -> set[str]:
    record = directory.record() or {}
    needs, baseline = record.get("needs"), record.get("baseline_run_id")
    found = set(needs.values()) if isinstance(needs, dict) else set()
    return {run for run in (*found, baseline) if isinstance(run, str)}
