"""The SLURM launcher: submits job arrays to a queue that outlives it; re-running the command finds them again."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ternlab.core.errors import ExitCode
from ternlab.sweeps.cluster import ClusterSettings
from ternlab.sweeps.folder import alive_file, exit_file, output_file
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.on_slurm.batches import (
    Batch,
    all_batches,
    batches_folder,
    new_token,
    remove_leftovers_of,
    write_batch,
)
from ternlab.sweeps.on_slurm.check import check, largest_array
from ternlab.sweeps.on_slurm.commands import CommandRunner, run_command
from ternlab.sweeps.on_slurm.ends import final_code
from ternlab.sweeps.on_slurm.queue import Queue
from ternlab.sweeps.on_slurm.script import place_of, script
from ternlab.sweeps.on_slurm.settings import SlurmCluster
from ternlab.sweeps.on_slurm.submit import QueueFullError, Submission
from ternlab.sweeps.on_slurm.tasks import Tasks
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.progress import Clock

_log = logging.getLogger(__name__)
# As many as SLURM accepts; the rest is kept here and submitted later. A search submits no more than can run, since its
# next proposals should follow from results.
_MANY = 1_000_000
_OFFER_AGAIN_SECONDS = 30.0


class SlurmLauncher:
    """Runs as tasks of job arrays.

    Args:
        folder: the sweep's folder; batches and job logs go to `slurm/` in it, the output of runs to `output/`.
        plan: the sweep's plan.
        cluster: resources of each run.
        largest: maximum number of runs per array.
        run: runs a SLURM command.
        clock: default: the system clock.
    """

    name = "slurm"
    queues = True

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        cluster: SlurmCluster,
        largest: int,
        run: CommandRunner = run_command,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._sweep_id = plan.sweep_id
        self._runs = plan.runs
        self._needs = plan.needs
        self._cluster = cluster
        self._largest = largest
        self._limit = cluster.queue_limit or (cluster.array_parallelism if plan.search else _MANY)
        self._clock = clock or Clock()
        self._queue = Queue(plan.sweep_id, run, self._clock, self._sign_of_life)
        self._submission = Submission(self._folder, cluster, run, self._queue, self._clock)
        self._tasks = Tasks(self._folder, self._runs, run, self._clock)
        self._backlog: list[Task] = []
        self._offer_at = 0.0
        self._told: list[tuple[str, int]] = []

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Return the arrays that would be submitted, and the batch script of the first of each kind."""
        lines: list[str] = []
        shown: set[tuple[str, ...]] = set()
        for after, part in _arrays(tasks, self._largest):
            waits = f" after {' and '.join(after)}" if after else ""
            count = "1 run" if len(part) == 1 else f"{len(part)} runs"
            lines.append(f"array of {count}{waits}: {' '.join(task.run_id for task in part)}")
            roles = self._needs.get(part[0].run_id, {})
            jobs = tuple(f"JOB_OF_THE_{re.sub(r'[^A-Z0-9]+', '_', roles[run].upper())}" for run in after)
            if jobs not in shown:
                shown.add(jobs)
                text = script(self._cluster, self._folder, f"{self._sweep_id}.TOKEN", len(part), jobs)
                lines += ["", *text.splitlines(), ""]
        return lines

    def running(self) -> Collection[str]:
        """Return the runs of this sweep that are in the queue; clean up after launchers that were killed."""
        found = self._queue.look_now()
        remove_leftovers_of(self._folder)
        for batch in all_batches(self._folder):
            entries = {index: entry for (token, index), entry in found.items() if token == batch.token}
            live = {index: entry for index, entry in entries.items() if not entry.ended}
            for index, entry in live.items():
                self._tasks.add(batch, index, entry.job)
            if live and batch.job is None:
                write_batch(self._folder, replace(batch, job=next(iter(live.values())).job))
            if not live:
                # All have ended, or it is unknown whether SLURM received them; if it did, they will find no batch.
                self._tasks.close_batch(batch, {index: entry.job for index, entry in entries.items()})
        return self._tasks.names()

    def free(self) -> int:
        """Return how many more runs can be submitted now."""
        return 0 if self._backlog else max(0, self._limit - len(self._tasks))

    def start(self, tasks: Sequence[Task]) -> None:
        """Submit an array for the runs without dependencies, and one per group of runs with the same dependencies."""
        self._backlog += tasks
        self._offer()

    def unsent(self) -> Collection[str]:
        """Return the runs that SLURM has not accepted yet."""
        return [task.run_id for task in self._backlog]

    def ended(self) -> Sequence[tuple[str, int]]:
        """Return the runs whose jobs have left the queue, with their exit codes."""
        if self._backlog and self._clock.now() >= self._offer_at:
            self._offer()
        found = self._queue.look() if self._tasks else None
        if found is not None:
            self._told += self._tasks.take(found)
        told, self._told = self._told, []
        return told

    def stop_runs(self, runs: Iterable[str]) -> None:
        """Cancel the jobs of some runs: running ones get TERM, save, and are not requeued."""
        chosen = set(runs)
        waiting = [task for task in self._backlog if task.run_id in chosen]
        self._drop(waiting)
        self._told += [(task.run_id, ExitCode.INTERRUPTED) for task in waiting]
        self._tasks.stop([run for run in chosen if run in self._tasks])

    def stop(self) -> None:
        """Do nothing: jobs do not need their launcher, and re-running the command takes them over."""

    def tidy(self, finished: Iterable[str]) -> None:
        """Remove the files of these runs."""
        for run in finished:
            for path in (output_file(self._folder, run), exit_file(self._folder, run), alive_file(self._folder, run)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove empty folders."""
        if self._backlog:
            _log.warning("%d runs were not submitted; re-run the command later to submit them", len(self._backlog))
        for name in ("output", "exits", "alive", batches_folder(self._folder).name):
            # Not empty, as jobs may still write to it, or does not exist.
            with contextlib.suppress(OSError):
                (self._folder / name).rmdir()

    def _offer(self) -> None:
        """Submit the runs that are not submitted yet."""
        try:
            for after, tasks in _arrays(self._backlog, self._largest):
                # Arrays are submitted after their dependencies, so those of the rest are in the queue.
                self._submit(after, tasks)
            self._offer_at = 0.0
        except QueueFullError as error:
            if not self._offer_at:
                _log.warning("SLURM accepts no more jobs at the moment; the rest will be submitted later: %s", error)
            self._offer_at = self._clock.now() + _OFFER_AGAIN_SECONDS

    def _submit(self, after: tuple[str, ...], tasks: Sequence[Task]) -> None:
        """Submit an array, or its halves if it exceeds a limit."""
        queued = tuple(run for run in after if run in self._tasks)
        if any(final_code(self._runs, run) != ExitCode.DONE for run in after if run not in queued):
            # A run that they depend on has failed in the meantime.
            self._drop(tasks)
            self._told += [(task.run_id, ExitCode.HELD) for task in tasks]
            return
        try:
            batch = self._submission.submit(self._batch(queued, tasks), [self._tasks.id(run) for run in queued])
        except QueueFullError:
            if len(tasks) == 1:
                raise
            half = len(tasks) // 2
            self._submit(after, tasks[:half])
            self._submit(after, tasks[half:])
            return
        self._drop(tasks)
        for index in range(len(batch.runs)):
            self._tasks.add(batch, index, str(batch.job))

    def _batch(self, after: tuple[str, ...], tasks: Sequence[Task]) -> Batch:
        runs = tuple(task.run_id for task in tasks)
        for run in runs:
            # From an earlier job; this one has not ended.
            exit_file(self._folder, run).unlink(missing_ok=True)
        return Batch(new_token(), self._sweep_id, str(tasks[0].plan), runs, place_of(self._cluster), after)

    def _drop(self, tasks: Sequence[Task]) -> None:
        gone = {task.run_id for task in tasks}
        self._backlog = [task for task in self._backlog if task.run_id not in gone]

    def _sign_of_life(self) -> float:
        times = [0.0]
        for file in (self._folder / "alive").glob("*"):
            with contextlib.suppress(OSError):
                times.append(file.stat().st_mtime)
        return max(times)


def launcher_of(folder: Path, plan: Plan, cluster: ClusterSettings) -> SlurmLauncher:
    """Return the launcher for this machine's cluster.

    Raises:
        SettingsError: SLURM is not available, or does not have what `cluster` requests.
    """
    assert isinstance(cluster, SlurmCluster)
    check(folder, plan, cluster, run_command)
    return SlurmLauncher(folder, plan, cluster, largest_array(run_command))


def _arrays(tasks: Sequence[Task], largest: int) -> Iterator[tuple[tuple[str, ...], list[Task]]]:
    """Yield (dependencies, runs) of each array, arrays without dependencies first.

    `tasks` are in dependency order, and so are the arrays.
    """
    groups: dict[tuple[str, ...], list[Task]] = {(): []}
    for task in tasks:
        groups.setdefault(task.after, []).append(task)
    for after, group in groups.items():
        for start in range(0, len(group), largest):
            yield after, group[start : start + largest]
