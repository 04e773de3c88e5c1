"""A sweep with a launcher that starts nothing and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.progress import Clock, Progress
from ternlab.sweeps.schedule import carry_out
from tests.sweeps.made import plan_of, write_status

# How a run ends: the status of its record and the exit code; a run that is not named here finishes.
Ending = tuple[str | None, int]


FINE: Ending = ("finished", 0)


@dataclass
class FakeLauncher:
    """Every run takes a second of the clock, and ends as `endings` say, one for each try."""

    runs: Path
    now: Callable[[], float]
    workers: int = 2
    endings: dict[str, list[Ending]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    most: int = 0
    stopped: bool = False
    name: str = "fake"
    queues: bool = False

    def __post_init__(self) -> None:
        self.started_at: dict[str, float] = {}

    def free(self) -> int:
        return self.workers - len(self.started_at)

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        return [task.run_id for task in tasks]

    def running(self) -> Sequence[str]:
        return ()

    def start(self, tasks: Sequence[Task]) -> None:
        assert len(tasks) <= self.free()
        for task in tasks:
            assert task.run_id not in self.started_at
            self.started.append(task.run_id)
            self.started_at[task.run_id] = self.now() + 1
        self.most = max(self.most, len(self.started_at))

    def stop_runs(self, runs: Iterable[str]) -> None:
        for run in runs:
            self.endings[run] = [("interrupted", ExitCode.INTERRUPTED)]
            self.started_at[run] = self.now()

    def tidy(self, finished: Iterable[str]) -> None:
        pass

    def unsent(self) -> Sequence[str]:
        return ()

    def ended(self) -> Sequence[tuple[str, int]]:
        over = [run for run, end in self.started_at.items() if end <= self.now()]
        return [(run, self._end(run)) for run in over]

    def stop(self) -> None:
        self.stopped = True
        for run in self.started_at:
            self.endings[run] = [("interrupted", ExitCode.INTERRUPTED)]
            self.started_at[run] = 0

    def close(self) -> None:
        pass

    def _end(self, run: str) -> int:
        del self.started_at[run]
        status, code = (self.endings.get(run) or [FINE]).pop(0)
        if status is not None:
            write_status(self.runs, run, status)
        return code


class Queue(FakeLauncher):
    """Keeps tasks until what they wait for has ended, and gives those of a failed one back with HELD."""

    def __init__(self, runs: Path, now: Callable[[], float], workers: int = 100) -> None:
        super().__init__(runs, now, workers, queues=True)
        self.after: dict[str, tuple[str, ...]] = {}
        self.had: list[str] = []
        self.submitted: list[Task] = []

    def running(self) -> Sequence[str]:
        return self.had

    def start(self, tasks: Sequence[Task]) -> None:
        self.submitted += tasks
        for task in tasks:
            self.after[task.run_id] = task.after
            # What waits has no end yet.
            self.started_at[task.run_id] = float("inf") if task.after else self.now() + 1
        self.started += [task.run_id for task in tasks if not task.after]

    def ended(self) -> Sequence[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for run, code in super().ended():
            found.append((run, code))
            if code == 0:
                self._release(run)
            else:
                # Told before the needed run's own end, which is the harder order.
                found[:0] = [(one, int(ExitCode.HELD)) for one in self._drop(run)]
        return found

    def _behind(self, run: str) -> list[str]:
        return [one for one, after in self.after.items() if run in after and self.started_at.get(one) == float("inf")]

    def _release(self, run: str) -> None:
        for one in self._behind(run):
            if not any(need in self.started_at for need in self.after[one]):
                self.started_at[one] = self.now() + 1
                self.started.append(one)

    def _drop(self, run: str) -> list[str]:
        """Forget what can never begin, at any depth."""
        gone = []
        for one in self._behind(run):
            if self.started_at.pop(one, None) is not None:
                gone += [*self._drop(one), one]
        return gone


class World:
    """A plan of two quantized runs on each of two baselines, a launcher and a clock."""

    def __init__(self, runs: Path, *typed: str) -> None:
        self.runs = runs
        self.plan: Plan = plan_of(runs, *(typed or ("quant=tga,twn", "seed=0,1")))
        self.time = 0.0
        self.launcher = FakeLauncher(runs, lambda: self.time)
        self.looks: list[Progress] = []
        self.stop_at = float("inf")

    def name(self, rule: str, seed: int) -> str:
        (run,) = [run for run in self.plan.configs if f"-{rule}-s{seed}-" in run]
        return run

    def go(self, retries: int = 1) -> Progress:
        launcher: Launcher = self.launcher
        return carry_out(
            self.plan,
            self.runs / "plan.json",
            self.runs,
            launcher,
            retries=retries,
            asked_to_stop=lambda: self.time >= self.stop_at,
            look=self.looks.append,
            clock=Clock(lambda: self.time, self._sleep),
        )

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds
        assert self.time < 1000, "nothing ends this sweep"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
