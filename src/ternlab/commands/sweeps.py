"""`ternlab sweep ...`: looking at a sweep, waiting for it, stopping it, from any terminal and without a server."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import time
from pathlib import Path

from ternlab.commands.run_sweep import summarize
from ternlab.core.errors import ExitCode, SettingsError, TernlabError, did_you_mean
from ternlab.core.lock import RunLock
from ternlab.runs.directory import fitting_ids
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
        name: id of a sweep, or a unique beginning or ending of it, or its folder.

    Raises:
        SettingsError: there is no such sweep, or more than one.
    """
    if (Path(name) / "plan.json").is_file():
        return read_plan(Path(name) / "plan.json"), Path(name)
    ids = sorted(path.parent.name for path in sweeps.glob("*/plan.json"))
    fitting = fitting_ids(name, ids)
    if len(fitting) != 1:
        rule = (
            f"{len(fitting)} sweeps fit: {', '.join(fitting)}" if fitting else f"there is no such sweep below {sweeps}"
        )
        raise SettingsError(
            "sweep", value=name, rule=rule, instead=did_you_mean(name, ids) if ids else "plan one first"
        )
    return read_plan(sweeps / fitting[0] / "plan.json"), sweeps / fitting[0]


def own_plan(sweeps: Path, name: str) -> tuple[Plan, Path]:
    """Return the plan of a sweep and its folder, as `found_plan` does, where its relative paths mean what they meant.

    Raises:
        SettingsError: there is no such sweep, or it was begun in another folder.
    """
    plan, folder = found_plan(sweeps, name)
    if not plan.runs.is_absolute() and Path(plan.folder).resolve() != Path.cwd():
        raise SettingsError(
            "sweep",
            value=plan.sweep_id,
            rule=f"was begun in {plan.folder}, and its runs are in {plan.runs} there",
            instead=f"cd {shlex.quote(plan.folder)}, then this command",
        )
    return plan, folder


def status(sweeps: Path, name: str) -> ExitCode:
    """Print where every run of a sweep stands."""
    plan, folder = own_plan(sweeps, name)
    found = look(plan, plan.runs)
    print(summary_line(plan, found), *status_lines(plan, found), sep="\n")
    queued = False
    for jobs in _jobs_of(plan, folder):
        try:
            states = jobs.states(folder, plan.sweep_id)
        except TernlabError as error:
            print(f"\n{jobs.queue} does not say what is in its queue: {error}")
            continue
        if states:
            queued = True
            lines = (f"  {run}  {state}" for run, state in sorted(states.items()))
            print("", f"in the queue of {jobs.queue}:", *lines, sep="\n")
    carried_out = RunLock(folder / "lock").held()
    ended = all(one.state in (State.FINISHED, State.PRUNED) for one in found)
    idle = "ended" if ended else "not carried out by any process; to go on:"
    print("", "carried out now" if carried_out else "goes on in the queue" if queued else idle, plan.command, sep="\n")
    return ExitCode.DONE


def wait(sweeps: Path, name: str) -> int:
    """Wait until nobody carries out the sweep any more and nothing of it is in a queue; print the results.

    Returns:
        0 when all trials are finished or were stopped early by the search, 3 when some are not.
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
    print(f"not everything is finished; to go on:\n  {plan.command}")
    return SOME_FAILED


def cancel(sweeps: Path, name: str) -> ExitCode:
    """Ask the process that carries out a sweep to stop, and cancel its jobs in a queue; what runs saves first.

    Raises:
        SettingsError: nobody carries it out, or a process on another machine does.
    """
    plan, folder = own_plan(sweeps, name)
    stopped = _stop_process(plan, folder)
    canceled = sum(jobs.cancel(folder, plan.sweep_id) for jobs in _jobs_of(plan, folder))
    if not stopped and not canceled:
        raise SettingsError(
            "sweep", value=plan.sweep_id, rule="is not carried out by any process, so there is nothing to stop"
        )
    _wait_for_queues(plan, folder)
    print(summary_line(plan, look(plan, plan.runs)), f"to go on:\n  {plan.command}", sep="\n")
    return ExitCode.DONE


def _jobs_of(plan: Plan, folder: Path) -> list[Jobs]:
    """Return what knows of jobs in queues; the plan's plugins are imported where one of them brought the launcher."""
    if unknown_names(folder):
        import_plugins(dict.fromkeys(name for config in plan.configs.values() for name in config.get("plugins") or ()))
    return list(all_jobs())


def _wait_for_queues(plan: Plan, folder: Path) -> None:
    jobs = _jobs_of(plan, folder)
    while any(one.states(folder, plan.sweep_id, patient=True) for one in jobs):
        time.sleep(_QUEUE_SECONDS)


def _stop_process(plan: Plan, folder: Path) -> bool:
    """Stop the process that carries out a sweep, wait for its end, and return whether there was one."""
    lock = RunLock(folder / "lock")
    holder = lock.holder()
    while holder is not None and not holder["pid"]:
        # It has just taken the lock and has not written yet who it is; 0 would be this process's own group.
        time.sleep(_POLL_SECONDS)
        holder = lock.holder()
    if holder is None:
        return False
    if holder["host"] != socket.gethostname():
        raise SettingsError(
            "sweep", value=plan.sweep_id, rule=f"is carried out on {holder['host']}", instead="this command there"
        )
    try:
        os.kill(int(holder["pid"]), signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has ended by itself
    except PermissionError:
        raise SettingsError(
            "sweep", value=plan.sweep_id, rule=f"process {holder['pid']} is not yours", instead="ask its owner"
        ) from None
    while lock.held():
        time.sleep(_POLL_SECONDS)
    return True


def logs(sweeps: Path, name: str, run: str | None, lines: int) -> ExitCode:
    """Print the last lines of the logs of a sweep's runs: of those that are not finished, or of one run.

    Raises:
        SettingsError: the sweep has no such run.
    """
    plan, folder = own_plan(sweeps, name)
    found = look(plan, plan.runs)
    ids = [one.run_id for one in found]
    named = fitting_ids(run, ids) if run is not None else []
    if run is not None and len(named) != 1:
        rule = f"{len(named)} runs fit" if named else f"is not a run of {plan.sweep_id}"
        raise SettingsError("run", value=run, rule=rule, instead=did_you_mean(run, named or ids))
    wanted = [
        one for one in found if (one.run_id in named if run else one.state not in (State.FINISHED, State.WAITING))
    ]
    for one in wanted:
        print(f"== {one.run_id}: {one.state}")
        # What a run prints is in its log too, once it has begun.
        paths = (plan.runs / one.run_id / "log.txt", output_file(folder, one.run_id))
        for path in [path for path in paths if path.is_file()][:1]:
            print(f"-- {path}", *path.read_text(errors="replace").splitlines()[-lines:], sep="\n")
    if not wanted:
        print("no run has stopped, failed or is running; name one to see its log")
    return ExitCode.DONE
