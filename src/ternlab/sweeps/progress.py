"""The progress of a running sweep, and the source of its further trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from ternlab.sweeps.plan import Plan


@dataclass
class Progress:
    """The scheduler's state of a sweep.

    Attributes:
        waiting: runs to be started, in order.
        running: runs passed to the launcher.
        done: finished runs.
        failed: exit code of each run that has failed for good.
        tries: how often each run was started.
        held: when to check again a waiting run that is held by a process outside of the sweep.
        pruned: runs that a search has stopped early; those still running are saving.
        plan: the current plan; the plan of a search grows.
        settings: number of settings so far, each with all its seeds.
        wanted: number of settings that there will be.
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
    """The source of further trials while a sweep runs: a search.

    Attributes:
        plan: the current plan, as on disk.
        wanted: number of settings that there will be.
    """

    plan: Plan
    wanted: int

    def more(self, progress: Progress, room: int) -> bool:
        """Add trials for `room` runs to the plan, write it, and return whether there are new trials."""
        ...

    def behind(self, progress: Progress) -> Collection[str]:
        """Return the runs to stop early; they are already recorded as pruned."""
        ...


@dataclass(frozen=True)
class Clock:
    """The time; tests can replace it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
