"""Runs a plan: each run once, after the runs that it needs, with retries by kind of failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from ternlab.core.errors import ExitCode
from ternlab.runs.checkpoint_files import last_written_step
from ternlab.runs.directory import run_directory
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.plan import Plan, by_setting
from ternlab.sweeps.progress import Clock, Progress, Source
from ternlab.sweeps.states import State, standing

__all__ = ["Clock", "Progress", "Source", "carry_out", "submit"]

_log = logging.getLogger(__name__)
# Pause between two turns: a share of the time since the last change, so that short runs do not wait for long, ...
_SHORTEST_PAUSE, _SHARE_OF_IDLE, _LONGEST_IDLE = 0.05, 0.02, 1.0
# ... and long enough that polling takes no more than this share of a core, however many runs there are.
_SHARE_OF_CORE, _LONGEST_PAUSE = 0.05, 2.0
# Interval between two checks of the runs' intermediate values.
_JUDGE_SECONDS = 1.0
# Interval between two checks of a run that another process holds.
_HELD_SECONDS = 1.0
# Failures that a retry cannot fix; everything else was a crash, a kill, or a stopped run.
_FOR_GOOD = {ExitCode.BAD_SETTINGS, ExitCode.DIVERGED, ExitCode.STORAGE}


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
    source: Source | None = None,
) -> Progress:
    """Run everything in a plan that is not finished, and return the outcome.

    Args:
        plan: the sweep's plan.
        plan_file: the plan file, from which tasks read their settings.
        runs: folder of the runs.
        launcher: starts the tasks.
        retries: how often a failed run is restarted.
        asked_to_stop: polled; once it returns true, running tasks save and exit and no more tasks are started.
        look: called at every change and periodically, for the table on the terminal.
        clock: default: the system clock.
        source: source of further trials, for a search whose plan grows or that stops runs early.
    """
    clock = clock or Clock()
    sweep = _Sweep(plan, plan_file, runs, launcher, retries, clock, source)
    look(sweep.progress)
    changed_at = clock.now()
    while sweep.progress.waiting or sweep.progress.running or sweep.ask_for_more():
        began = clock.now()
        if asked_to_stop():
            launcher.stop()
            sweep.take(stopping=True)
            look(sweep.progress)
            break
        changed = sweep.take()
        changed |= sweep.start()
        changed |= sweep.ask_for_more()
        changed |= sweep.stop_those_behind()
        look(sweep.progress)
        now = clock.now()
        if changed:
            changed_at = now
        else:
            clock.sleep(_pause(now - changed_at, now - began))
    return sweep.progress


def submit(
    plan: Plan,
    plan_file: Path,
    runs: Path,
    launcher: Launcher,
    *,
    look: Callable[[Progress], None],
    clock: Clock | None = None,
) -> Progress:
    """Submit a complete plan to a launcher with a queue, and return without waiting for any run.

    The arguments are those of `carry_out`. Runs that do not fit in the queue stay in `waiting`.
    """
    assert launcher.queues
    sweep = _Sweep(plan, plan_file, runs, launcher, 0, clock or Clock(), None)
    while sweep.start():
        look(sweep.progress)
    sweep.take(stopping=True)
    for run in launcher.unsent():
        sweep.progress.running.discard(run)
        sweep.progress.waiting.append(run)
    look(sweep.progress)
    return sweep.progress


def _pause(idle: float, worked: float) -> float:
    """Return how long to sleep, from the seconds since the last change and the duration of the last turn."""
    by_idle = min(max(_SHORTEST_PAUSE, _SHARE_OF_IDLE * idle), _LONGEST_IDLE)
    return max(by_idle, min(worked / _SHARE_OF_CORE, _LONGEST_PAUSE))


class _Sweep:
    """A plan that is being run; the arguments are those of `carry_out`."""

    def __init__(
        self,
        plan: Plan,
        plan_file: Path,
        runs: Path,
        launcher: Launcher,
        retries: int,
        clock: Clock,
        source: Source | None,
    ) -> None:
        self._plan_file, self._runs, self._launcher = plan_file, runs, launcher
        self._retries, self._clock, self._source = retries, clock, source
        self._needs: dict[str, tuple[str, ...]] = {}
        # Checkpoint steps from which runs were started.
        self._begun_at: dict[str, int] = {}
        self._next_look = clock.now()
        self.progress = Progress([], pruned=set(plan.pruned))
        adopted = launcher.running()
        self._add(plan, adopted)
        # The process that pruned them may have been killed before the launcher was told.
        self._stop(self.progress.pruned)

    def _add(self, plan: Plan, adopted: Collection[str] = ()) -> None:
        """Add the runs of a plan that are not known yet."""
        progress = self.progress
        known = set(self._needs)
        self._needs.update((run, tuple(plan.needs.get(run, ()))) for run in plan.run_ids)
        # A later setting may need a run that was stopped early.
        needed = {run for before in self._needs.values() for run in before if run in progress.pruned}
        progress.pruned -= needed
        for run in (run for run in self._needs if run not in known or run in needed):
            if run in adopted:
                progress.running.add(run)
                progress.tries[run] = 1
            elif run not in progress.running and not self._settled(run) and run not in progress.pruned:
                progress.waiting.append(run)
        progress.plan, progress.settings = plan, len(by_setting(plan.trials))
        progress.wanted = max(self._source.wanted if self._source else 0, progress.settings)

    def take(self, *, stopping: bool = False) -> bool:
        """Classify ended runs by their record, since a process can die after its run was finished.

        Args:
            stopping: runs were asked to save; those that did are resumed by re-running the command.
        """
        progress = self.progress
        ended = self._launcher.ended()
        for run, code in ended:
            progress.running.discard(run)
            if self._settled(run) or run in progress.pruned:
                continue
            if code == ExitCode.HELD:
                # Another process holds it, or a run that it needs failed in the queue. It did nothing: not a try.
                progress.tries[run] -= 1
                progress.held[run] = self._clock.now() + _HELD_SECONDS
                progress.waiting.insert(0, run)
            elif stopping and code not in _FOR_GOOD:
                progress.waiting.insert(0, run)
            elif not stopping and code == ExitCode.INTERRUPTED and self._step(run) > self._begun_at.get(run, 0):
                # Stopped from outside after making progress: not a failed try.
                progress.tries[run] = 0
                progress.waiting.insert(0, run)
            elif not stopping and code not in _FOR_GOOD and progress.tries[run] <= self._retries:
                _log.info("%s exited with code %d; restarting it", run, code)
                progress.waiting.insert(0, run)
            else:
                progress.failed[run] = code or ExitCode.FAILED
        return bool(ended)

    def _step(self, run: str) -> int:
        return last_written_step(run_directory(self._runs, run).checkpoints)

    def start(self) -> bool:
        """Start the runs that are ready, and return whether anything has changed."""
        progress, tasks, changed = self.progress, list[Task](), False
        free = self._launcher.free()
        # No run is in two of these, so one set tells which runs to wait for.
        unfinished = {*progress.waiting, *progress.running}
        for run in list(progress.waiting) if free > 0 else ():
            if len(tasks) >= free:
                break
            needed = self._needs[run]
            failed = [need for need in needed if need in progress.failed]
            if failed:
                progress.waiting.remove(run)
                progress.failed[run] = progress.failed[failed[0]]
                changed = True
                continue
            # A queue that has the needed runs holds this one until they have ended; otherwise it waits here.
            queued = tuple(need for need in needed if need in progress.running) if self._launcher.queues else ()
            in_the_way = unfinished.intersection(needed).difference(queued)
            if in_the_way or progress.held.get(run, 0.0) > self._clock.now():
                continue
            if self._is_held(run):
                continue
            progress.waiting.remove(run)
            changed = True
            if progress.held.pop(run, None) is not None and self._settled(run):
                continue
            progress.running.add(run)
            self._begun_at[run] = self._step(run)
            progress.tries[run] = progress.tries.get(run, 0) + 1
            tasks.append(Task(run, self._plan_file, after=queued))
        if tasks:
            self._launcher.start(tasks)
        return changed

    def ask_for_more(self) -> bool:
        """Request further trials if the launcher has capacity that no waiting run can use."""
        if self._source is None or self.progress.settings >= self._source.wanted:
            return False
        # Runs that wait for needed runs take their slots when those are finished.
        room = self._launcher.free() - len(self.progress.waiting)
        if room <= 0:
            return False
        if not self._source.more(self.progress, room):
            # It may have found that the space has fewer settings than requested.
            self.progress.wanted = max(self._source.wanted, self.progress.settings)
            return False
        self._add(self._source.plan)
        return True

    def stop_those_behind(self) -> bool:
        """Periodically stop the runs of settings that have fallen behind."""
        began = self._clock.now()
        if self._source is None or began < self._next_look:
            return False
        behind = set(self._source.behind(self.progress))
        progress = self.progress
        progress.pruned |= behind
        progress.waiting = [run for run in progress.waiting if run not in behind]
        self._stop(behind)
        took = self._clock.now() - began
        self._next_look = began + max(_JUDGE_SECONDS, took / _SHARE_OF_CORE)
        return bool(behind)

    def _stop(self, runs: set[str]) -> None:
        if runs & self.progress.running:
            self._launcher.stop_runs(runs & self.progress.running)

    def _settled(self, run: str) -> bool:
        """Record the outcome of a run whose record is final, and return whether it is final."""
        state = standing(self._runs, run).state
        if state == State.FINISHED:
            self.progress.done.add(run)
        elif state == State.DIVERGED:
            # The same settings would diverge again.
            self.progress.failed[run] = ExitCode.DIVERGED
        return state in (State.FINISHED, State.DIVERGED)

    def _is_held(self, run: str) -> bool:
        """Return whether a process outside of the sweep holds the run; if so, it is checked again later."""
        if standing(self._runs, run).state != State.RUNNING:
            return False
        if run not in self.progress.held:
            _log.info("%s is held by another process; the sweep waits for it", run)
        self.progress.held[run] = self._clock.now() + _HELD_SECONDS
        return True
