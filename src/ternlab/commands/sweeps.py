"""`ternlab sweep ...`: inspect, await or cancel a sweep from any terminal; needs no server."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import socket
import time
from pathlib import Path

from ternlab.commands.run_sweep import summarize
from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.core.lock import RunLock
from ternlab.runs.directory import fitting_ids, not_one
from ternlab.settings.load import import_plugins
from ternlab.sweeps.folder import output_file
from ternlab.sweeps.launchers import Jobs, all_jobs, unknown_names
from ternlab.sweeps.plan import Plan, read_plan
from ternlab.sweeps.states import SOME_FAILED, State
from ternlab.sweeps.table import look, result_lines, status_lines, summary_line

_POLL_SECONDS = 0.5
_QUEUE_SECONDS = 2.0


def found_plan(sweeps: Path, name: str) -> tuple[Plan, Path]:
    """Return the plan of a sweep and its folder.

    Args:
        sweeps: folder of the sweeps.
        name: ID of a sweep, a unique prefix or suffix of it, or its folder.

    Raises:
        SettingsError: there is no such sweep, or more than one.
    """
    if (Path(name) / "plan.json").is_file():
        return read_plan(Path(name) / "plan.json"), Path(name)
    ids = sorted(path.parent.name for path in sweeps.glob("*/plan.json"))
    fitting = fitting_ids(name, ids)
    if len(fitting) != 1:
        none = f"there is no such sweep in {sweeps}"
        raise not_one("sweep", name, "sweep", fitting, ids, none, "plan one first")
    return read_plan(sweeps / fitting[0] / "plan.json"), sweeps / fitting[0]


def own_plan(sweeps: Path, name: str) -> tuple[Plan, Path]:
    """Return the plan of a sweep and its folder, as `found_plan` does, if its relative paths are still valid here.

    Raises:
        SettingsError: there is no such sweep, or it was started in another folder.
    """
    plan, folder = found_plan(sweeps, name)
    if not plan.runs.is_absolute() and Path(plan.folder).resolve() != Path.cwd():
        raise SettingsError(
            "sweep",
            value=plan.sweep_id,
            rule=f"was started in {plan.folder}, and its runs are in {plan.runs} there",
            instead=f"cd {shlex.quote(plan.folder)}, then re-run the command",
        )
    return plan, folder


def control(chosen: argparse.Namespace) -> int:
    """Carry out `ternlab sweep status|wait|cancel|logs`."""
    if chosen.action == "logs":
        return logs(chosen.sweeps, chosen.sweep, chosen.run, chosen.lines)
    actions = {"status": status, "wait": wait, "cancel": cancel}
    return int(actions[chosen.action](chosen.sweeps, chosen.sweep))


def status(sweeps: Path, name: str) -> ExitCode:
    """Print the state of every run of a sweep."""
    plan, folder = own_plan(sweeps, name)
    found = look(plan, plan.runs)
    print(summary_line(plan, found), *status_lines(plan, found), sep="\n")
    queued = False
    for jobs in _jobs_of(plan, folder):
        try:
            states = jobs.states(folder, plan.sweep_id)
        except TernlabError as error:
            print(f"\nthe queue of {jobs.queue} cannot be read: {error}")
            continue
        if states:
            queued = True
            lines = (f"  {run}  {state}" for run, state in sorted(states.items()))
            print("", f"in the queue of {jobs.queue}:", *lines, sep="\n")
    carried_out = RunLock(folder / "lock").held()
    ended = all(one.state in (State.FINISHED, State.PRUNED) for one in found)
    idle = "ended" if ended else "not running; to resume:"
    print("", "running" if carried_out else "running in the queue" if queued else idle, plan.command, sep="\n")
    return ExitCode.DONE


def wait(sweeps: Path, name: str) -> int:
    """Wait until no process runs the sweep and none of its jobs is in a queue; print the results.

    Returns:
        0 if all trials are finished or were pruned by the search, 3 if some are not.
    """
    plan, folder = own_plan(sweeps, name)
    lock = RunLock(folder / "lock")
    while lock.held():
        time.sleep(_POLL_SECONDS)
    _wait_for_queues(plan, folder)
    plan, folder = own_plan(sweeps, name)
    found = look(plan, plan.runs)
    summarize(plan, plan.runs, folder)
    print(summary_line(plan, found), "", *result_lines(plan, plan.runs), sep="\n")
    if all(one.state in (State.FINISHED, State.PRUNED) for one in found):
        return ExitCode.DONE
    print(f"some runs are not finished; to resume:\n  {plan.command}")
    return SOME_FAILED


def cancel(sweeps: Path, name: str) -> ExitCode:
    """Ask the process that runs a sweep to stop, and cancel its queued jobs; running trials save first.

    Raises:
        SettingsError: the sweep is not running, or runs on another machine.
    """
    plan, folder = own_plan(sweeps, name)
    stopped = _stop_process(plan, folder)
    canceled = sum(jobs.cancel(folder, plan.sweep_id) for jobs in _jobs_of(plan, folder))
    if not stopped and not canceled:
        rule, instead = "is not running, so there is nothing to cancel", f"ternlab sweep status {plan.sweep_id}"
        raise SettingsError("sweep", value=plan.sweep_id, rule=rule, instead=instead)
    _wait_for_queues(plan, folder)
    print(summary_line(plan, look(plan, plan.runs)), f"to resume:\n  {plan.command}", sep="\n")
    return ExitCode.DONE


def _jobs_of(plan: Plan, folder: Path) -> list[Jobs]:
    """Return the launchers' job interfaces; imports the plan's plugins if one of them provides a launcher."""
    if unknown_names(folder):
        import_plugins(dict.fromkeys(name for config in plan.configs.values() for name in config.get("plugins") or ()))
    return list(all_jobs())


def _wait_for_queues(plan: Plan, folder: Path) -> None:
    jobs = _jobs_of(plan, folder)
    while any(one.states(folder, plan.sweep_id, patient=True) for one in jobs):
        time.sleep(_QUEUE_SECONDS)


def _stop_process(plan: Plan, folder: Path) -> bool:
    """Stop the process that runs a sweep, wait for it to exit, and return whether there was one."""
    lock = RunLock(folder / "lock")
    holder = lock.holder()
    while holder is not None and not holder["pid"]:
        # It has just taken the lock and has not written its PID yet; 0 would be this process's own group.
        time.sleep(_POLL_SECONDS)
        holder = lock.holder()
    if holder is None:
        return False
    if holder["host"] != socket.gethostname():
        raise SettingsError(
            "sweep", value=plan.sweep_id, rule=f"runs on {holder['host']}", instead="run this command there"
        )
    try:
        os.kill(int(holder["pid"]), signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has exited by itself
    except PermissionError:
        raise SettingsError(
            "sweep",
            value=plan.sweep_id,
            rule=f"process {holder['pid']} belongs to another user",
            instead="ask its owner",
        ) from None
    while lock.held():
        time.sleep(_POLL_SECONDS)
    return True


def logs(sweeps: Path, name: str, run: str | None, lines: int) -> ExitCode:
    """Print the last log lines of a sweep's unfinished runs, or of one run.

    Raises:
        SettingsError: the sweep has no such run.
    """
    plan, folder = own_plan(sweeps, name)
    found = look(plan, plan.runs)
    ids = [one.run_id for one in found]
    named = fitting_ids(run, ids) if run is not None else []
    if run is not None and len(named) != 1:
        raise not_one("run", run, "run", named, ids, f"is not a run of {plan.sweep_id}", "plan one first")
    wanted = [
        one for one in found if (one.run_id in named if run else one.state not in (State.FINISHED, State.WAITING))
    ]
    for one in wanted:
        print(f"== {one.run_id}: {one.state}")
        # Once a run has started, its log contains its output too.
        paths = (plan.runs / one.run_id / "log.txt", output_file(folder, one.run_id))
        for path in [path for path in paths if path.is_file()][:1]:
            print(f"-- {path}", *path.read_text(errors="replace").splitlines()[-lines:], sep="\n")
    if not wanted:
        print("no run is running, stopped or failed; name a run to see its log")
    return ExitCode.DONE
