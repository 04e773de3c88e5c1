"""Shows the progress of a running sweep: a live table on a terminal, one line per event otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ternlab.metrics.registry import VAL
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.progress import Progress
from ternlab.sweeps.states import Standing, State, standing
from ternlab.sweeps.table import cells, words_of

_REFRESH_SECONDS = 1.0
# Checking the directories of thousands of queued runs must stay a small share of the time.
_SHARE_OF_TIME = 0.05
_COLUMNS = ("run", "state", "epoch", VAL, "degradation", "settings", "left")
_STYLES = {State.RUNNING: "bold", State.FINISHED: "green", State.FAILED: "red", State.DIVERGED: "red"}


class Watcher:
    """Called at every turn of the scheduler; a context manager that restores the terminal."""

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the terminal."""

    def __call__(self, progress: Progress) -> None:
        """Show the progress of the sweep."""
        raise NotImplementedError


def watcher(plan: Plan, runs: Path) -> Watcher:
    """Return the live table on a terminal, otherwise the line printer."""
    return LiveTable(plan, runs) if sys.stdout.isatty() else Lines(plan)


class Lines(Watcher):
    """Prints a line when a run has ended."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._told: dict[str, str] | None = None

    def __call__(self, progress: Progress) -> None:
        """Print changes since the last call."""
        plan = progress.plan or self._plan
        total = len(plan.run_ids)
        ended = {
            **dict.fromkeys(sorted(progress.pruned - progress.running), "pruned"),
            **dict.fromkeys(sorted(progress.done), "finished"),
            **dict.fromkeys(sorted(progress.failed), "failed"),
        }
        new = {run: word for run, word in ended.items() if run not in (self._told or {})}
        if self._told is None:
            # They ended before this command started; failures are reported again.
            before = sum(word != "failed" for word in new.values())
            if before:
                print(f"{before} of {total} runs already ended", flush=True)
            new = {run: word for run, word in new.items() if word == "failed"}
        for number, (run, word) in enumerate(new.items(), len(ended) - len(new) + 1):
            print(f"[{number}/{total}] {word} {run}", flush=True)
        self._told = ended


class LiveTable(Watcher):
    """Redraws a table of running, failed and recently finished runs, and the remaining time.

    Args:
        plan: the sweep's plan.
        runs: folder of the runs.
        console: default: the terminal.
        now: a monotonic clock in seconds; tests can replace it.
    """

    def __init__(
        self, plan: Plan, runs: Path, console: Console | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan = plan
        self._runs = runs
        self._console = console or Console()
        self._now = now
        self._words: dict[str, str] = {}
        self._settled: dict[str, Standing] = {}
        self._began: tuple[float, float] | None = None
        self._next = now()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Draw the table, at most once a second."""
        before = self._now()
        if before < self._next:
            return
        self._live.update(self.render(progress), refresh=True)
        self._next = self._now() + max(_REFRESH_SECONDS, (self._now() - before) / _SHARE_OF_TIME)

    def render(self, progress: Progress) -> Group:
        """Return the table and the line below it."""
        if not self._words or progress.plan is not None:
            # The plan of a search grows.
            self._plan = progress.plan or self._plan
            self._words = words_of(self._plan)
        running = [standing(self._runs, run) for run in sorted(progress.running)]
        pruned = progress.pruned - progress.running
        for run in (*progress.done, *progress.failed, *pruned):
            if run not in self._settled:
                self._settled[run] = standing(self._runs, run, progress.pruned)
        failed = [self._settled[run] for run in progress.failed]
        # The most recently finished runs, below the active and failed ones.
        done = [one for run, one in self._settled.items() if run in progress.done or run in pruned][::-1]
        room = max(5, self._console.size.height - 5)
        # Training runs before queued runs.
        shown = [*sorted(running, key=lambda one: one.state != State.RUNNING), *failed, *done][:room]
        rows = [[*cells(one, self._words.get(one.run_id, "")), self._left_of(one)] for one in shown]
        table = Table(box=None, pad_edge=False)
        for name in _COLUMNS:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for one, row in zip(shown, _narrowed(rows, self._console.width), strict=True):
            state = State.FAILED if one.run_id in progress.failed and one.state != State.DIVERGED else one.state
            table.add_row(*map(Text, row), style=_STYLES.get(state, ""))
        return Group(table, Text(self._summary(progress, running)))

    def _summary(self, progress: Progress, running: list[Standing]) -> str:
        total = len(self._plan.run_ids)
        pruned = len(progress.pruned - progress.running)
        training = sum(one.state == State.RUNNING for one in running)
        counts = [
            f"{len(progress.done)}/{total} finished",
            f"{training} running",
            f"{len(progress.waiting) + len(running) - training} waiting",
            *([f"{pruned} pruned"] if pruned else []),
            f"{len(progress.failed)} failed",
            *([f"setting {progress.settings} of {progress.wanted}"] if progress.settings < progress.wanted else []),
        ]
        left = self._left(progress, running, total)
        return f"{self._plan.sweep_id}: {', '.join(counts)}" + (f", about {duration(left)} left" if left else "")

    def _left(self, progress: Progress, running: list[Standing], total: int) -> float | None:
        """Return the estimated seconds until the end, from the runs (and parts of runs) done since watching began."""
        parts = sum(one.epoch / one.epochs for one in running if one.epochs)
        ended = len(progress.done | progress.failed.keys() | (progress.pruned - progress.running)) + parts
        if self._began is None:
            self._began = (self._now(), ended)
        seconds, since = self._now() - self._began[0], ended - self._began[1]
        return seconds / since * (total - ended) if since > 0 else None

    def _left_of(self, one: Standing) -> str:
        """Return the remaining time of a run, from its epochs since its latest start."""
        attempts = (one.record or {}).get("attempts") or []
        if one.state != State.RUNNING or not one.epoch or not one.epochs or len(attempts) != 1:
            return ""
        seconds = (datetime.now(UTC) - datetime.fromisoformat(attempts[0]["started"])).total_seconds()
        return duration(seconds / one.epoch * (one.epochs - one.epoch))


def _narrowed(rows: list[list[str]], width: int) -> list[list[str]]:
    """Truncate IDs from the left, where they are alike, until the numbers fit in `width`."""
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    too_much = sum(widths) + 2 * (len(widths) - 1) - width
    keep = max(len("…-s0-") + 10, widths[0] - too_much)
    return [[run if len(run) <= keep else "…" + run[1 - keep :], *others] for run, *others in rows]


def duration(seconds: float) -> str:
    """Return a duration as text: `40 s`, `5 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
