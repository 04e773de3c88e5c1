"""What a launcher is: it starts runs of a plan somewhere and says when they have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """One run to start.

    Attributes:
        run_id: of the run.
        plan: file of the plan that has its frozen settings.
    """

    run_id: str
    plan: Path


class Launcher(Protocol):
    """Starts tasks; the scheduler decides which and when.

    Attributes:
        name: as in `cluster=`.
    """

    name: str

    def free(self) -> int:
        """Return how many more tasks may be started now."""
        ...

    def start(self, task: Task) -> None:
        """Start a task and return without waiting for it."""
        ...

    def ended(self) -> Sequence[tuple[str, int]]:
        """Return (run id, exit code) of the tasks that have ended since the last call."""
        ...

    def stop(self) -> None:
        """Ask all running tasks to save and leave, and wait until they have."""
        ...

    def close(self) -> None:
        """Give back what the launcher holds; no task runs any more."""
        ...
