"""Carrying out a plan: baselines before the trials that need them, every run once, retries by class."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from ternlab.errors import ExitCode
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.states import State, standing

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.05
# Between two looks at a run that another process holds.
_HELD_SECONDS = 1.0
# What starting again cannot mend; everything else was a crash, a kill, or a run that was stopped.
_FOR_GOOD = {ExitCode.BAD_SETTINGS, ExitCode.DIVERGED, ExitCode.STORAGE}


@dataclass
class Progress:
    """What the scheduler knows of a sweep.

    Attributes:
        waiting: runs that are to be started, in order.
        running: runs that the launcher has.
        done: runs that are finished.
        failed: exit code of each run that has ended for good without being finished.
        tries: how often each run was started.
        held: when to look again at a waiting run that a process outside of the sweep holds.
    """

    waiting: list[str]
    running: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: dict[str, int] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Clock:
    """Time, which a test moves itself."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def carry_out(
    plan: Plan,
    plan_file: Path,
    runs: Path,
    launcher: Launcher,
    *,
    retries: int,
    asked_to_stop: Callable[[], bool],
    look: Callable[[Progress], None],
    clock: Clock | None = None,
) -> Progress:
    """Run everything of a plan that is not finished, and return what came of it.

    Args:
        plan: of the sweep.
        plan_file: where it is written; tasks read their settings from it.
        runs: folder of the runs.
        launcher: starts the tasks.
        retries: how often a run that has failed is started again.
        asked_to_stop: polled; when it is true, running tasks save and leave and nothing more is started.
        look: called at every change and now and then, for the table on the terminal.
        clock: default: that of the machine.
    """
    clock = clock or Clock()
    progress = _begun(plan, runs, launcher.running())
    needs = {trial.run_id: trial.baseline for trial in plan.trials}
    look(progress)
    while progress.waiting or progress.running:
        if asked_to_stop():
            launcher.stop()
            _take(progress, launcher, runs, retries=0)
            look(progress)
            break
        changed = _take(progress, launcher, runs, retries)
        changed |= _start(progress, launcher, plan_file, runs, needs, clock)
        look(progress)
        if not changed:
            clock.sleep(_POLL_SECONDS)
    return progress


def _begun(plan: Plan, runs: Path, running: Collection[str]) -> Progress:
    progress = Progress([])
    for run in (*plan.baselines, *(trial.run_id for trial in plan.trials)):
        if run in running:
            progress.running.add(run)
            progress.tries[run] = 1
        elif not _settled(progress, runs, run):
            progress.waiting.append(run)
    return progress


def _settled(progress: Progress, runs: Path, run: str) -> bool:
    """Book a run whose record is final, and return whether it is."""
    state = standing(runs, run).state
    if state == State.FINISHED:
        progress.done.add(run)
    elif state == State.DIVERGED:
        # The same settings would diverge again.
        progress.failed[run] = ExitCode.DIVERGED
    return state in (State.FINISHED, State.DIVERGED)


def _take(progress: Progress, launcher: Launcher, runs: Path, retries: int) -> bool:
    """Sort what has ended; the record decides, since a process can die after its run was finished."""
    ended = launcher.ended()
    for run, code in ended:
        progress.running.discard(run)
        if _settled(progress, runs, run):
            continue
        if code == ExitCode.HELD:
            # Another process was faster. It did nothing, so it was no try; the lock is looked at before the next one.
            progress.tries[run] -= 1
            progress.waiting.insert(0, run)
        elif code not in _FOR_GOOD and progress.tries[run] <= retries:
            _log.info("%s ended with code %d and is started again", run, code)
            progress.waiting.insert(0, run)
        else:
            progress.failed[run] = code or ExitCode.FAILED
    return bool(ended)


def _start(
    progress: Progress,
    launcher: Launcher,
    plan_file: Path,
    runs: Path,
    needs: dict[str, str | None],
    clock: Clock,
) -> bool:
    changed = False
    tasks: list[Task] = []
    free = launcher.free()
    # No run is in two of these, so a set tells what a trial must wait for.
    unfinished = {*progress.waiting, *progress.running}
    for run in list(progress.waiting):
        if len(tasks) >= free:
            break
        baseline = needs.get(run)
        if baseline in progress.failed:
            progress.waiting.remove(run)
            progress.failed[run] = progress.failed[baseline]
            changed = True
            continue
        # A queue keeps a trial until its baseline has ended; else it stays here.
        queued = launcher.queues and baseline in progress.running
        if (baseline in unfinished and not queued) or progress.held.get(run, 0.0) > clock.now():
            continue
        if _is_held(progress, runs, run, clock):
            continue
        progress.waiting.remove(run)
        changed = True
        if progress.held.pop(run, None) is not None and _settled(progress, runs, run):
            continue
        progress.running.add(run)
        progress.tries[run] = progress.tries.get(run, 0) + 1
        tasks.append(Task(run, plan_file, after=baseline if queued else None))
    if tasks:
        launcher.start(tasks)
    return changed


def _is_held(progress: Progress, runs: Path, run: str, clock: Clock) -> bool:
    """Return whether a process outside of the sweep works on the run; then it is looked at again later."""
    if standing(runs, run).state != State.RUNNING:
        return False
    if run not in progress.held:
        _log.info("%s is held by another process; the sweep waits for it", run)
    progress.held[run] = clock.now() + _HELD_SECONDS
    return True
