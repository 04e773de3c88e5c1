"""The launcher for SLURM: arrays of jobs in a queue that outlives it; the same command finds them again."""

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
# As many as SLURM takes; what it does not take now is kept here and offered again. A search gets no more than can run:
# what it proposes next is to follow from results.
_MANY = 1_000_000
_OFFER_AGAIN_SECONDS = 30.0


class SlurmLauncher:
    """Runs as tasks of arrays.

    Args:
        folder: of the sweep; batches and logs of jobs go to `slurm/` in it, what a run prints to `output/`.
        plan: of the sweep.
        cluster: resources of each run.
        largest: runs of one array.
        run: runs a command of SLURM.
        clock: time; default: that of the machine.
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
        """Return the arrays that would be submitted, and the batch file of the first of each kind."""
        lines: list[str] = []
        shown: set[tuple[str, ...]] = set()
        for after, part in _arrays(tasks, self._largest):
            waits = f" once {' and '.join(after)} {'are' if after[1:] else 'is'} finished" if after else ""
            lines.append(f"an array of {len(part)} runs{waits}: {' '.join(task.run_id for task in part)}")
            roles = self._needs.get(part[0].run_id, {})
            jobs = tuple(f"JOB_OF_THE_{re.sub(r'[^A-Z0-9]+', '_', roles[run].upper())}" for run in after)
            if jobs not in shown:
                shown.add(jobs)
                text = script(self._cluster, self._folder, f"{self._sweep_id}.TOKEN", len(part), jobs)
                lines += ["", *text.splitlines(), ""]
        return lines

    def running(self) -> Collection[str]:
        """Return the runs of this sweep that are in the queue; tidy what launchers left that were killed."""
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
                # All have ended; or nobody knows whether SLURM has heard of them, and then they will find no batch.
                self._tasks.close_batch(batch, {index: entry.job for index, entry in entries.items()})
        return self._tasks.names()

    def free(self) -> int:
        """Return how many more runs SLURM gets now."""
        return 0 if self._backlog else max(0, self._limit - len(self._tasks))

    def start(self, tasks: Sequence[Task]) -> None:
        """Submit arrays: one for the runs that wait for nothing, one for those that wait for the same runs."""
        self._backlog += tasks
        self._offer()

    def unsent(self) -> Collection[str]:
        """Return the runs that SLURM has not taken so far."""
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
        """Cancel the jobs of some runs: those that run get TERM, save, and are not requeued."""
        chosen = set(runs)
        waiting = [task for task in self._backlog if task.run_id in chosen]
        self._drop(waiting)
        self._told += [(task.run_id, ExitCode.INTERRUPTED) for task in waiting]
        self._tasks.stop([run for run in chosen if run in self._tasks])

    def stop(self) -> None:
        """Do nothing: jobs wait and run without their launcher, and the same command goes on with them."""

    def tidy(self, finished: Iterable[str]) -> None:
        """Remove what these runs left."""
        for run in finished:
            for path in (output_file(self._folder, run), exit_file(self._folder, run), alive_file(self._folder, run)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folders in which nothing is left."""
        if self._backlog:
            _log.warning("%d runs have not been submitted; the same command does so later", len(self._backlog))
        for name in ("output", "exits", "alive", batches_folder(self._folder).name):
            # Not empty, or not there: jobs may still write into it.
            with contextlib.suppress(OSError):
                (self._folder / name).rmdir()

    def _offer(self) -> None:
        """Submit what was not submitted so far."""
        try:
            for after, tasks in _arrays(self._backlog, self._largest):
                # An array comes after those that it waits for: what is left then has them in the queue.
                self._submit(after, tasks)
            self._offer_at = 0.0
        except QueueFullError as error:
            if not self._offer_at:
                _log.warning("SLURM takes no more jobs at the moment, the others are kept: %s", error)
            self._offer_at = self._clock.now() + _OFFER_AGAIN_SECONDS

    def _submit(self, after: tuple[str, ...], tasks: Sequence[Task]) -> None:
        """Submit an array, or its halves where a limit is in the way."""
        queued = tuple(run for run in after if run in self._tasks)
        if any(final_code(self._runs, run) != ExitCode.DONE for run in after if run not in queued):
            # What they wait for has ended in the meantime, and not well.
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
            # Of a job of before; this one has not ended.
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
    """Return the launcher for the cluster of this machine.

    Raises:
        SettingsError: SLURM is not there, or has nothing that `cluster` asks for.
    """
    assert isinstance(cluster, SlurmCluster)
    check(folder, plan, cluster, run_command)
    return SlurmLauncher(folder, plan, cluster, largest_array(run_command))


def _arrays(tasks: Sequence[Task], largest: int) -> Iterator[tuple[tuple[str, ...], list[Task]]]:
    """Yield (runs that are waited for, runs) of each array, those that wait for nothing first.

    `tasks` are in an order in which they can run; so then are the arrays.
    """
    groups: dict[tuple[str, ...], list[Task]] = {(): []}
    for task in tasks:
        groups.setdefault(task.after, []).append(task)
    for after, group in groups.items():
        for start in range(0, len(group), largest):
            yield after, group[start : start + largest]
