"""Where a sweep stands while it is carried out, and where its further trials come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from ternlab.sweeps.plan import Plan


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
        pruned: runs that a search has stopped early; those that are still running are saving.
        plan: as it is now; that of a search grows.
        settings: how many there are so far, each with all its seeds.
        wanted: how many there will be.
    """

    waiting: list[str]
    running: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: dict[str, int] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    pruned: set[str] = field(default_factory=set)
    plan: Plan | None = None
    settings: int = 0
    wanted: int = 0


class Source(Protocol):
    """Where further trials come from while a sweep is carried out: a search.

    Attributes:
        plan: as it is now, and on the disk.
        wanted: how many settings there will be.
    """

    plan: Plan
    wanted: int

    def more(self, progress: Progress, room: int) -> bool:
        """Add trials for `room` runs to the plan and write it, and return whether there are any new ones."""
        ...

    def behind(self, progress: Progress) -> Collection[str]:
        """Return the runs that are not worth going on with; they are written down as pruned already."""
        ...


@dataclass(frozen=True)
class Clock:
    """Time, which a test moves itself."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
