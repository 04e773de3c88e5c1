"""Feeds Ray Tune with the tasks that the scheduler starts, and forwards requests to stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ternlab.core.errors import ExitCode

Config = dict[str, Any]
End = Callable[[str, int, str], None]
AskToStop = Callable[[], None]


class Feed:
    """The tasks between the scheduler, whose requests come from one thread, and Tune, which runs in another.

    Args:
        end: called once per task, with its run, exit code, and a message.
    """

    def __init__(self, end: End) -> None:
        self._end = end
        self._changed = threading.Condition()
        self._waiting: deque[Config] = deque()
        # The runs that Tune has, and how to ask each to stop; nobody can be asked before its actor has started.
        self._taken: dict[str, AskToStop | None] = {}
        self._asked: set[str] = set()
        # Runs still in Tune whose end was already reported, because they had not started; on a busy cluster they may
        # never start.
        self._given_up: set[str] = set()
        self._closed = False

    def add(self, task: Config) -> None:
        """Add a task; its `run` identifies it."""
        with self._changed:
            if task["run"] in self._given_up:
                # Tune still has it.
                self._given_up.discard(task["run"])
                self._taken[task["run"]] = None
            else:
                self._waiting.append(task)
            self._changed.notify()

    def take(self) -> Config | None:
        """Return the next task, or `None` if there is none now.

        Blocks if Tune has no other trial: it then has nothing to watch, and after a `None` it would sleep for a second
        or two.
        """
        with self._changed:
            while not (self._waiting or self._taken or self._given_up or self._closed):
                self._changed.wait()
            if not self._waiting:
                return None
            task = self._waiting.popleft()
            self._taken[task["run"]] = None
            return task

    def started(self, run: str, ask_to_stop: AskToStop) -> None:
        """Record how to stop a run, and stop it if that was requested before it (or its restarted actor) started."""
        with self._changed:
            if run in self._taken:
                self._taken[run] = ask_to_stop
            if run in self._asked | self._given_up:
                ask_to_stop()

    def stop(self, runs: Iterable[str]) -> None:
        """Ask runs to save and exit; those that have not started end at once."""
        with self._changed:
            wanted = set(runs)
            out = [task["run"] for task in self._waiting if task["run"] in wanted]
            self._waiting = deque(task for task in self._waiting if task["run"] not in wanted)
            for run in wanted & self._taken.keys():
                ask = self._taken[run]
                if ask is not None:
                    self._asked.add(run)
                    ask()
                else:
                    del self._taken[run]
                    self._given_up.add(run)
                    out.append(run)
        for run in out:
            self._end(run, ExitCode.INTERRUPTED, "")

    def ended(self, run: str, code: int, said: str = "") -> None:
        """Report the end of a run."""
        with self._changed:
            known = run in self._taken
            self._taken.pop(run, None)
            self._asked.discard(run)
            self._given_up.discard(run)
        if known:
            self._end(run, code, said)

    def runs(self) -> list[str]:
        """Return the runs whose end has not been reported yet."""
        with self._changed:
            return [*(task["run"] for task in self._waiting), *self._taken]

    def close(self) -> None:
        """Declare that no more tasks will be added."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def closed(self) -> bool:
        """Return whether all tasks were taken and no more will be added."""
        with self._changed:
            return self._closed and not self._waiting
