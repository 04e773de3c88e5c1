"""A search whose runs learn made-up curves, an epoch a second of a clock, and that can be killed at any step."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ternlab.core.errors import ExitCode
from ternlab.runs.directory import run_directory
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.plan import Plan, merged, plan_file, read_plan, write_plan
from ternlab.sweeps.progress import Clock, Progress
from ternlab.sweeps.schedule import carry_out
from ternlab.sweeps.search_plan import make_search_plan
from ternlab.sweeps.search_source import source_of
from ternlab.sweeps.settings import SearchSettings
from ternlab.sweeps.space import space_of
from tests.sweeps.made import compose_in

# What a run reaches after an epoch (from 1), from its point; `None` is a loss that is not finite.
Curve = Callable[[dict[str, Any], int], float | None]
EPOCHS = 4


class KilledError(Exception):
    """kill -9 of the launcher: nothing is tidied up."""


@dataclass
class LearningLauncher:
    """Runs that leave with it, as those of this machine do, and go on from their last whole epoch."""

    world: SearchWorld
    workers: int
    name: str = "fake"
    queues: bool = False
    started: list[str] = field(default_factory=list)
    began: dict[str, tuple[float, int]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def free(self) -> int:
        self.world.step()
        return self.workers - len(self.began)

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        return []

    def running(self) -> Sequence[str]:
        return ()

    def start(self, tasks: Sequence[Task]) -> None:
        self.world.step()
        for task in tasks:
            # What is started is on the disk first.
            assert task.run_id in read_plan(task.plan).configs
            self.started.append(task.run_id)
            self.began[task.run_id] = (self.world.time, self.world.epochs_of(task.run_id))
            self.world.write_record(task.run_id, "running")

    def unsent(self) -> Sequence[str]:
        return ()

    def ended(self) -> Sequence[tuple[str, int]]:
        self.world.step()
        over = []
        for run, (since, epochs) in list(self.began.items()):
            code = self.world.learn(run, epochs + int(self.world.time - since), run in self.asked)
            if code is not None:
                del self.began[run]
                self.asked.discard(run)
                over.append((run, code))
        return over

    def stop_runs(self, runs: Iterable[str]) -> None:
        self.world.step()
        for run in runs:
            assert run in self.began
            self.asked.add(run)

    def stop(self) -> None:
        self.stop_runs(self.began)

    def tidy(self, finished: Iterable[str]) -> None:
        pass

    def close(self) -> None:
        pass


class SearchWorld:
    """A search from its command on; `command` again goes on."""

    def __init__(self, folder: Path, curve: Curve, search: SearchSettings, *typed: str, workers: int = 1) -> None:
        self.runs, self.sweeps, self.curve, self.search, self.typed = (
            folder / "runs",
            folder / "sweeps",
            curve,
            search,
            typed,
        )
        self.workers = workers
        self.time = 0.0
        self.steps = 0
        self.kill_at = -1
        self.rows: dict[str, int] = {}
        self.points: dict[str, dict[str, Any]] = {}
        self.launchers: list[LearningLauncher] = []

    def planned(self) -> Plan:
        """Return the plan that the command makes."""
        whole = () if any(word.startswith("quant=") for word in self.typed) else ("quant=none",)
        typed = (*whole, f"trainer.max_epochs={EPOCHS}", *self.typed)
        space = space_of(typed, intervals=True)
        return make_search_plan(space, self.search, compose_in(self.runs), {"quant"}.__contains__, "launch.py")

    def command(self, kill_after: int | None = None) -> Progress:
        """Type the command, and kill it after some steps."""
        plan = self.planned()
        file = plan_file(self.sweeps / plan.sweep_id)
        if file.exists():
            plan = merged(read_plan(file), plan)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_plan(plan, file.parent)
        plan = read_plan(file)
        self.steps, self.kill_at = 0, -1 if kill_after is None else kill_after
        self.launchers.append(LearningLauncher(self, self.workers))
        launcher: Launcher = self.launchers[-1]
        return carry_out(
            plan,
            file,
            self.runs,
            launcher,
            retries=1,
            asked_to_stop=lambda: False,
            look=self._look,
            clock=Clock(lambda: self.time, self._sleep),
            source=source_of(plan, file, self.runs),
        )

    @property
    def plan(self) -> Plan:
        (file,) = self.sweeps.glob("*/plan.json")
        return read_plan(file)

    def started(self) -> list[str]:
        return [run for launcher in self.launchers for run in launcher.started]

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            raise KilledError

    def epochs_of(self, run: str) -> int:
        path = run_directory(self.runs, run).metrics_file
        return len(list(csv.DictReader(path.open()))) if path.exists() else 0

    def learn(self, run: str, epochs: int, asked: bool) -> int | None:
        """Write the rows of a run until so many epochs; return its exit code when it has ended."""
        point = self.points[run]
        last = point.get("trainer.max_epochs", EPOCHS)
        values = [self.curve(point, epoch) for epoch in range(1, min(epochs, last) + 1)]
        if None in values:
            self.write_record(run, "diverged")
            return ExitCode.DIVERGED
        if self.rows.get(run) != len(values):
            self.rows[run] = len(values)
            rows = "".join(f"{epoch},{epoch + 1},{value!r}\n" for epoch, value in enumerate(values))
            # Not synced, unlike real ones: there are thousands, and nobody pulls the plug.
            run_directory(self.runs, run).metrics_file.write_text(f"epoch,step,{self.search.metric}\n{rows}")
        # The test images take a second more.
        if epochs > last:
            self.write_record(run, "finished", values[-1])
            return ExitCode.DONE
        if asked:
            self.write_record(run, "interrupted")
            return ExitCode.INTERRUPTED
        return None

    def write_record(self, run: str, status: str, value: float | None = None) -> None:
        directory = run_directory(self.runs, run)
        directory.path.mkdir(parents=True, exist_ok=True)
        metrics = {} if value is None else {self.search.metric: value}
        record = {"record_version": 1, "run_id": run, "status": status, "epochs": EPOCHS, "metrics": metrics}
        directory.record_file.write_text(json.dumps(record))

    def _look(self, progress: Progress) -> None:
        assert progress.plan is not None
        self.points.update((trial.run_id, trial.point) for trial in progress.plan.trials)
        self.points.update((run, {}) for run in progress.plan.baselines)

    def _sleep(self, seconds: float) -> None:
        self.step()
        # Whole quarters, so that sums of sleeps stay exact.
        self.time += max(0.25, round(seconds * 4) / 4)
        assert self.time < 5000, "nothing ends this sweep"
