"""What a launcher is: it starts runs of a plan somewhere and says when they have ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """One run to start.

    Attributes:
        run_id: of the run.
        plan: file of the plan that has its frozen settings.
        after: runs that must be finished first. Only launchers that queue get such tasks; the others get a task
            when nothing is in its way any more.
    """

    run_id: str
    plan: Path
    after: tuple[str, ...] = ()


class Launcher(Protocol):
    """Starts tasks; the scheduler decides which and when.

    Attributes:
        name: as in `cluster=`.
        queues: whether tasks wait in a queue that outlives the launcher (SLURM). Then all of a plan is handed over
            at once, and `stop` leaves the queue alone.
    """

    name: str
    queues: bool

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Return what would be done for these tasks, as lines for `dry_run`; starts and writes nothing."""
        ...

    def running(self) -> Collection[str]:
        """Return the runs that an earlier launcher of the same sweep has started and that still wait or run.

        From then on they are this launcher's. Called once, before anything else.
        """
        ...

    def free(self) -> int:
        """Return how many more tasks may be started now."""
        ...

    def start(self, tasks: Sequence[Task]) -> None:
        """Start tasks, no more than `free` says, and return without waiting for them."""
        ...

    def unsent(self) -> Collection[str]:
        """Return the runs that were handed over and that the queue has not taken yet; empty without a queue."""
        ...

    def ended(self) -> Sequence[tuple[str, int]]:
        """Return (run id, exit code) of the tasks that have ended since the last call.

        A task that has ended without being begun, because what it waited for has failed, has the code HELD.

        Raises:
            InfrastructureError: nobody can tell any more.
        """
        ...

    def stop_runs(self, runs: Iterable[str]) -> None:
        """Ask these running tasks to save and leave, and return at once; `ended` will tell of them."""
        ...

    def stop(self) -> None:
        """Ask all running tasks to save and leave, and wait until they have; a queue is left alone."""
        ...

    def tidy(self, finished: Iterable[str]) -> None:
        """Remove what these runs left with the launcher; they are finished."""
        ...

    def close(self) -> None:
        """Give back what the launcher holds; no task runs any more, but those of a queue."""
        ...
