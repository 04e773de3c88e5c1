"""`ternlab sweep ...`: looking at a sweep, waiting for it, stopping it, from any terminal and without a server."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from ternlab.errors import ExitCode, SettingsError, TernlabError, did_you_mean
from ternlab.runs.directory import fitting_ids
from ternlab.runs.lock import RunLock
from ternlab.sweeps.on_slurm.control import cancel as cancel_jobs
from ternlab.sweeps.on_slurm.control import in_queue
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


def status(sweeps: Path, name: str) -> ExitCode:
    """Print where every run of a sweep stands."""
    plan, folder = found_plan(sweeps, name)
    found = look(plan, runs_of(plan))
    print(summary_line(plan, found), *status_lines(plan, found), sep="\n")
    try:
        jobs = in_queue(folder, plan.sweep_id)
    except TernlabError as error:
        jobs = {}
        print(f"\nSLURM does not say what is in its queue: {error}")
    if jobs:
        print("", "in the queue of SLURM:", *(f"  {run}  {state}" for run, state in sorted(jobs.items())), sep="\n")
    carried_out = RunLock(folder / "lock").held()
    now = "carried out now" if carried_out else "goes on in the queue" if jobs else "not carried out by any process"
    print(f"\n{now}\n{plan.command}")
    return ExitCode.DONE


def wait(sweeps: Path, name: str) -> int:
    """Wait until nobody carries out the sweep any more and nothing of it is in a queue; print the results.

    Returns:
        0 when all trials are finished or were stopped early by the search, 3 when some are not.
    """
    plan, folder = found_plan(sweeps, name)
    lock = RunLock(folder / "lock")
    while lock.held():
        time.sleep(_POLL_SECONDS)
    while in_queue(folder, plan.sweep_id):
        time.sleep(_QUEUE_SECONDS)
    plan, folder = found_plan(sweeps, name)
    found = look(plan, runs_of(plan))
    print(summary_line(plan, found), "", *result_lines(plan, runs_of(plan)), sep="\n")
    ended = all(one.state in (State.FINISHED, State.PRUNED) for one in found)
    return ExitCode.DONE if ended else SOME_FAILED


def cancel(sweeps: Path, name: str) -> ExitCode:
    """Ask the process that carries out a sweep to stop, and cancel its jobs in a queue; what runs saves first.

    Raises:
        SettingsError: nobody carries it out, or a process on another machine does.
    """
    plan, folder = found_plan(sweeps, name)
    stopped = _stop_process(plan, folder)
    jobs = cancel_jobs(folder, plan.sweep_id)
    if not stopped and not jobs:
        raise SettingsError("sweep", value=plan.sweep_id, rule="is not carried out by any process", instead="nothing")
    while in_queue(folder, plan.sweep_id):
        time.sleep(_QUEUE_SECONDS)
    print(summary_line(plan, look(plan, runs_of(plan))), f"to go on:\n  {plan.command}", sep="\n")
    return ExitCode.DONE


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
    plan, folder = found_plan(sweeps, name)
    found = look(plan, runs_of(plan))
    ids = [one.run_id for one in found]
    if run is not None and run not in ids:
        raise SettingsError("run", value=run, rule=f"is not a run of {plan.sweep_id}", instead=did_you_mean(run, ids))
    wanted = [one for one in found if (one.run_id == run if run else one.state not in (State.FINISHED, State.WAITING))]
    for one in wanted:
        print(f"== {one.run_id}: {one.state}")
        for path in (runs_of(plan) / one.run_id / "log.txt", folder / "output" / f"{one.run_id}.txt"):
            if path.is_file():
                print(f"-- {path}", *path.read_text(errors="replace").splitlines()[-lines:], sep="\n")
    if not wanted:
        print("no run has stopped, failed or is running; name one to see its log")
    return ExitCode.DONE


def runs_of(plan: Plan) -> Path:
    """Return the folder of a plan's runs."""
    config = next(iter(plan.configs.values()))
    return Path(config["paths"]["runs"])
