"""What Ray Tune is fed with: tasks that the scheduler has started, one by one, and who is asked to stop."""

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
    """Tasks between the scheduler, whose requests come from one thread, and Tune, which runs in another.

    Args:
        end: called once for each task, with its run, exit code, and what there is to say of it.
    """

    def __init__(self, end: End) -> None:
        self._end = end
        self._changed = threading.Condition()
        self._waiting: deque[Config] = deque()
        # The runs that Tune has, and how to ask each to stop; nobody can be asked before its actor has started.
        self._taken: dict[str, AskToStop | None] = {}
        self._asked: set[str] = set()
        # Runs that Tune has, whose end was told since they had not started; on a busy cluster that can take for ever.
        self._given_up: set[str] = set()
        self._closed = False

    def add(self, task: Config) -> None:
        """Hand a task over; `run` in it names it."""
        with self._changed:
            if task["run"] in self._given_up:
                # Tune has it still.
                self._given_up.discard(task["run"])
                self._taken[task["run"]] = None
            else:
                self._waiting.append(task)
            self._changed.notify()

    def take(self) -> Config | None:
        """Return the next task, or `None` when there is none now.

        Waits when there is nothing else: without a trial Tune has nothing to watch, and after a `None` it would sleep
        for a second or two.
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
        """Note how a run is asked to stop, and ask it when that was wanted before it (or its actor anew) started."""
        with self._changed:
            if run in self._taken:
                self._taken[run] = ask_to_stop
            if run in self._asked | self._given_up:
                ask_to_stop()

    def stop(self, runs: Iterable[str]) -> None:
        """Ask runs to save and leave; those that have not started end at once."""
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
        """Pass the end of a run on."""
        with self._changed:
            known = run in self._taken
            self._taken.pop(run, None)
            self._asked.discard(run)
            self._given_up.discard(run)
        if known:
            self._end(run, code, said)

    def runs(self) -> list[str]:
        """Return the runs whose end was not told yet."""
        with self._changed:
            return [*(task["run"] for task in self._waiting), *self._taken]

    def close(self) -> None:
        """Say that no task will be added any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def closed(self) -> bool:
        """Return whether all tasks were taken and none will be added."""
        with self._changed:
            return self._closed and not self._waiting
