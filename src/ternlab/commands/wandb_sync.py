"""`ternlab wandb sync`: send runs that are missing or incomplete at W&B."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ternlab.commands.sweeps import found_plan
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.loggers.wandb.account import require_key
from ternlab.loggers.wandb.server import Server
from ternlab.loggers.wandb.sweep_summary import send_summary
from ternlab.loggers.wandb.sync import Did, Synced, mirrored_runs, sync_run
from ternlab.runs.directory import RunDirectory, existing_run, run_directory
from ternlab.sweeps.plan import Plan


def sync(chosen: argparse.Namespace) -> ExitCode:
    """Send the chosen runs one by one, and print the result for each.

    Raises:
        SettingsError: the choice of runs is ambiguous, or there is no API key; W&B was not contacted then.
    """
    plan, folder, directories, others = _chosen_runs(chosen)
    require_key()
    counts: Counter[Did] = Counter()
    for one in _synced(directories, chosen.dry_run, plan.sweep_id if plan else None):
        counts[one.did] += 1
        print(_line(one), flush=True)
    if plan is not None and not chosen.dry_run:
        counts[_sync_summary(plan, folder)] += 1
    print(", ".join(f"{count} {did}" for did, count in counts.items()) or "no run was trained with logger=wandb")
    if others:
        print(f"{others} runs with logger=local skipped; name them to send them")
    return ExitCode.FAILED if counts[Did.FAILED] else ExitCode.DONE


def _line(one: Synced) -> str:
    rows = f" ({one.rows} rows)" if one.rows else ""
    elsewhere = f" as {one.wandb_id}" if one.wandb_id not in ("", one.run_id) else ""
    return f"{one.run_id}: {one.did}{rows}{elsewhere}{': ' if one.why else ''}{one.why}"


def _chosen_runs(chosen: argparse.Namespace) -> tuple[Plan | None, Path, Sequence[RunDirectory], int]:
    """Return the sweep and its folder if one was named, the runs, and how many are skipped."""
    if [bool(chosen.run), chosen.all, chosen.sweep is not None].count(True) != 1:
        raise SettingsError(
            "ternlab wandb sync",
            rule="takes exactly one of: run IDs, --sweep, --all",
            instead="ternlab wandb sync RUN ..., ternlab wandb sync --sweep SWEEP, or ternlab wandb sync --all",
        )
    if chosen.sweep is not None:
        plan, folder = found_plan(chosen.sweeps, chosen.sweep)
        found = [run_directory(plan.runs, run) for run in plan.run_ids]
        return plan, folder, [directory for directory in found if directory.record_file.is_file()], 0
    if chosen.all:
        return None, chosen.runs, *mirrored_runs(chosen.runs)
    named = [existing_run(chosen.runs, name) for name in chosen.run]
    return None, chosen.runs, list({directory.path: directory for directory in named}.values()), 0


def _sync_summary(plan: Plan, folder: Path) -> Did:
    """Send the summary of a sweep, and return the outcome."""
    why = ""
    try:
        did = Did.SENT if send_summary(plan, plan.runs, folder, mode="online") else Did.WHOLE
    except Exception as error:  # noqa: BLE001 - whatever W&B raises
        did, why = Did.FAILED, f": {' '.join(str(error).split())}"
    print(f"{plan.sweep_id}: {did}{why}")
    return did


def _synced(directories: Sequence[RunDirectory], dry_run: bool, group: str | None) -> Iterator[Synced]:
    if not directories:
        return
    try:
        server = Server()
    except Exception as error:  # noqa: BLE001 - W&B has its own errors for a bad key, an unreachable server, ...
        why = " ".join(str(error).split())
        yield from (Synced(directory.run_id, Did.FAILED, why=why) for directory in directories)
        return
    yield from (sync_run(server, directory, dry_run=dry_run, group=group) for directory in directories)
