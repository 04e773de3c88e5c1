"""The interface of launchers: a launcher starts the runs of a plan and reports when they have ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """One run to start.

    Attributes:
        run_id: ID of the run.
        plan: plan file with its frozen settings.
        after: runs that must be finished first. Only launchers with a queue get such tasks; others get a task once
            its dependencies are finished.
    """

    run_id: str
    plan: Path
    after: tuple[str, ...] = ()


class Launcher(Protocol):
    """Starts tasks; the scheduler decides which and when.

    Attributes:
        name: as in `cluster=`.
        queues: whether tasks wait in a queue that outlives the launcher (SLURM). If so, the whole plan is submitted
            at once, and `stop` does not touch the queue.
    """

    name: str
    queues: bool

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Return lines for `dry_run` that describe how these tasks would run; starts and writes nothing."""
        ...

    def running(self) -> Collection[str]:
        """Return the runs that an earlier launcher of the same sweep started and that are still queued or running.

        This launcher takes them over. Called once, before anything else.
        """
        ...

    def free(self) -> int:
        """Return how many more tasks can be started now."""
        ...

    def start(self, tasks: Sequence[Task]) -> None:
        """Start tasks, at most `free()` of them, and return without waiting for them."""
        ...

    def unsent(self) -> Collection[str]:
        """Return the runs that were passed to the launcher but not yet accepted by the queue; empty without a queue."""
        ...

    def ended(self) -> Sequence[tuple[str, int]]:
        """Return (run ID, exit code) of the tasks that have ended since the last call.

        A task that ended without starting, because a run that it depends on failed, has the code HELD.

        Raises:
            InfrastructureError: the launcher can no longer tell.
        """
        ...

    def stop_runs(self, runs: Iterable[str]) -> None:
        """Ask these running tasks to save and exit, and return at once; `ended` reports them later."""
        ...

    def stop(self) -> None:
        """Ask all running tasks to save and exit, and wait for them; queued tasks stay in the queue."""
        ...

    def tidy(self, finished: Iterable[str]) -> None:
        """Remove the launcher's files of these runs, which are finished."""
        ...

    def close(self) -> None:
        """Release the launcher's resources; no task is running, except those in a queue."""
        ...
