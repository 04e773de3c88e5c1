"""Tracks the tasks of a sweep in SLURM's queue until each has ended and its exit code is known."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ternlab.core.errors import ExitCode
from ternlab.sweeps.folder import alive_file, output_file
from ternlab.sweeps.on_slurm.batches import Batch, remove_batch
from ternlab.sweeps.on_slurm.commands import CommandRunner
from ternlab.sweeps.on_slurm.control import cancel_jobs
from ternlab.sweeps.on_slurm.ends import final_code, recorded_code, slurm_code
from ternlab.sweeps.on_slurm.queue import Entry, Listing
from ternlab.sweeps.on_slurm.script import log_file
from ternlab.sweeps.on_slurm.stuck import StuckJobs
from ternlab.sweeps.progress import Clock

# On a network file system, a record can become visible late.
_RECORD_SECONDS = 60.0
# A task that was asked to stop is asked again if it is still there after this long.
_ASK_AGAIN_SECONDS = 120.0
# How often in a row something must be seen to count: that squeue omits a task (SLURM may have been starting), and the
# end of a job that may be about to be requeued.
_TIMES_DOUBTFUL = 2
_DOUBTFUL = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "TIMEOUT"}


@dataclass
class _Task:
    """A run in the queue.

    Attributes:
        token, index: its position in a batch.
        job: ID of the array.
        after: runs that it depends on.
        doubtful: how often in a row an uncertain end was seen.
        completed: when SLURM first reported it as completed.
        stopped: when it was last asked to stop.
    """

    token: str
    index: int
    job: str
    after: tuple[str, ...]
    doubtful: int = 0
    completed: float | None = None
    stopped: float | None = None

    @property
    def id(self) -> str:
        return f"{self.job}_{self.index}"


class Tasks:
    """Runs that are in the queue.

    Args:
        folder: the sweep's folder.
        runs: folder of the runs.
        run: runs a SLURM command.
        clock: the clock.
    """

    def __init__(self, folder: Path, runs: Path, run: CommandRunner, clock: Clock) -> None:
        self._folder = folder
        self._runs = runs
        self._run = run
        self._clock = clock
        self._stuck = StuckJobs()
        self._tasks: dict[str, _Task] = {}
        self._open: dict[str, int] = {}

    def __contains__(self, run: object) -> bool:
        return run in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def names(self) -> list[str]:
        """Return the runs."""
        return list(self._tasks)

    def id(self, run: str) -> str:
        """Return SLURM's ID for the task of a run."""
        return self._tasks[run].id

    def add(self, batch: Batch, index: int, job: str) -> None:
        """Take over a run of a batch that is in SLURM's queue."""
        run = batch.runs[index]
        if run not in self._tasks:
            self._tasks[run] = _Task(batch.token, index, job, batch.after)
            self._open[batch.token] = self._open.get(batch.token, 0) + 1

    def take(self, found: Listing) -> list[tuple[str, int]]:
        """Return (run, exit code) of the runs that have ended, and forget them."""
        told: list[tuple[str, int]] = []
        # Needed runs first: a run that can never start is reported once its dependency is known to have failed.
        levels: dict[str, int] = {}
        for run, task in sorted(self._tasks.items(), key=lambda item: self._level(item[0], levels)):
            entry = found.get((task.token, task.index))
            task.job = task.job if entry is None else entry.job
            if entry is not None and not entry.ended:
                task.doubtful = 0
                self._look_after(run, task, entry)
                continue
            code = self._code(run, task, entry)
            if code is not None:
                self._close(run, task, code)
                told.append((run, code))
        return told

    def stop(self, runs: Sequence[str]) -> None:
        """Cancel the jobs of some runs; running ones save and are not requeued."""
        for run in runs:
            self._tasks[run].stopped = self._clock.now()
        cancel_jobs(self._run, [self._tasks[run].id for run in runs])

    def close_batch(self, batch: Batch, jobs: dict[int, str]) -> None:
        """Clean up a batch without pending or running tasks.

        Args:
            batch: a batch that an earlier launcher submitted, or was about to submit.
            jobs: ID of the array for the tasks that squeue still lists.
        """
        for index, run in enumerate(batch.runs):
            job = jobs.get(index, batch.job)
            if job is not None:
                self._put_away(run, job, index, final_code(self._runs, run) == ExitCode.DONE)
        remove_batch(self._folder, batch.token)

    def _look_after(self, run: str, task: _Task, entry: Entry) -> None:
        self._stuck.tell(run, entry)
        if task.stopped is not None and self._clock.now() - task.stopped > _ASK_AGAIN_SECONDS:
            self.stop([run])

    def _code(self, run: str, task: _Task, entry: Entry | None) -> int | None:
        """Return how a task has ended, `None` while that is uncertain."""
        if entry is None or entry.state in _DOUBTFUL:
            task.doubtful += 1
            if task.doubtful < _TIMES_DOUBTFUL:
                return None
        code = final_code(self._runs, run)
        if code is not None:
            return code
        if task.stopped is not None:
            return ExitCode.INTERRUPTED
        if self._never_begun(task, entry):
            return None if any(need in self._tasks for need in task.after) else ExitCode.HELD
        if entry is not None and entry.state == "COMPLETED":
            task.completed = self._clock.now() if task.completed is None else task.completed
            if self._clock.now() - task.completed < _RECORD_SECONDS:
                return None
        code = recorded_code(self._folder, run)
        return slurm_code(entry, task.id, self._run) if code is None else code

    def _never_begun(self, task: _Task, entry: Entry | None) -> bool:
        if entry is not None and entry.never:
            return True
        gone = entry is None or entry.state == "CANCELLED"
        return gone and any(final_code(self._runs, need) != ExitCode.DONE for need in task.after)

    def _level(self, run: str, known: dict[str, int]) -> int:
        """Return the length of the longest chain of queued runs before this one; `known` is filled in."""
        if run not in known:
            before = [self._level(need, known) for need in self._tasks[run].after if need in self._tasks]
            known[run] = 1 + max(before) if before else 0
        return known[run]

    def _close(self, run: str, task: _Task, code: int) -> None:
        del self._tasks[run]
        self._put_away(run, task.job, task.index, code == ExitCode.DONE)
        self._open[task.token] -= 1
        if not self._open[task.token]:
            del self._open[task.token]
            remove_batch(self._folder, task.token)

    def _put_away(self, run: str, job: str, index: int, well: bool) -> None:
        """Append the job's own output (setup commands, SLURM) to the run's output, or delete it."""
        alive_file(self._folder, run).unlink(missing_ok=True)
        log = log_file(self._folder, job, index)
        with contextlib.suppress(OSError):
            text = log.read_bytes()
            if text and not well:
                output_file(self._folder, run).parent.mkdir(exist_ok=True)
                with output_file(self._folder, run).open("ab") as file:
                    file.write(text)
            log.unlink()
