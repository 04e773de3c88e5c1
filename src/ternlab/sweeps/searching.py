"""A running search: connects its proposals, its plan and the results of its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.sweeps.objective import Objective
from ternlab.sweeps.plan import Plan, by_setting, is_seed, write_plan, write_pruned
from ternlab.sweeps.planner import Compose, Composed, Planner
from ternlab.sweeps.points import drawn
from ternlab.sweeps.progress import Progress
from ternlab.sweeps.proposals import Outcome, Proposer, Tried
from ternlab.sweeps.pruning import Judge
from ternlab.sweeps.search_plan import SearchPlan, add_setting
from ternlab.sweeps.space import Point

# Number of consecutive proposals of tried settings after which a point is drawn at random.
_ATTEMPTS = 10


@dataclass(frozen=True)
class _Setting:
    point: Mapping[str, Any]
    runs: tuple[str, ...]


class Searching:
    """The source of further trials, and the pruner of running ones (`ternlab.sweeps.progress.Source`).

    All its state is on disk, so it can be recreated after a crash.

    Args:
        plan: the plan as on disk.
        plan_file: the plan file.
        parts: the search definition in the plan.
        runs: folder of the runs.
        compose: Hydra's composition, for settings that interpolate others (`${optim.lr}`).
    """

    def __init__(
        self, plan: Plan, plan_file: Path, parts: SearchPlan, runs: Path, compose: Compose | None = None
    ) -> None:
        self.plan, self.wanted = plan, parts.settings.trials or 0
        self._file, self._parts, self._compose = plan_file, parts, compose
        self._space = parts.space.searched()
        self._objective = Objective(runs, parts.settings.metric)
        self._settings = _settings_of(plan)
        self._judge = Judge(parts.settings, plan.sweep_id, parts.epochs) if parts.settings.stops_early else None
        self._judged: set[int] = set()
        self._reached: dict[int, Tried] = {}
        self._proposer: Proposer | None = None
        self._planner: Planner | None = None
        self._heard_all = False

    def more(self, progress: Progress, room: int) -> bool:
        """Propose settings for `room` runs and add them to the plan; return whether there are any."""
        tried = [self._tried(number, progress) for number in range(len(self._settings))]
        count = self._count(room, sum(one.outcome is Outcome.OPEN for one in tried))
        found = 0
        while found < count and (point := self._add_proposal(tried)) is not None:
            tried.append(Tried(dict(point), Outcome.OPEN))
            found += 1
        if found:
            self._write()
        elif count > 0:
            # All settings have been tried.
            self.wanted = len(self._settings)
        return found > 0

    def behind(self, progress: Progress) -> set[str]:
        """Return the unfinished runs of settings that have fallen behind, after recording them as pruned."""
        if self._judge is None:
            return set()
        numbers = [number for number in range(len(self._settings)) if self._has_news(number, progress)]
        self._heard_all = True
        tried = {number: self._tried(number, progress) for number in numbers}
        behind = self._judge.behind({number: one.by_epoch for number, one in tried.items()})
        needed = {run for roles in self.plan.needs.values() for run in roles}
        runs: set[str] = set()
        for number, one in tried.items():
            stop = number in behind and self._may_stop(number, one, needed)
            if stop:
                runs.update(run for run in self._settings[number].runs if run not in progress.done)
            if stop or one.outcome is not Outcome.OPEN:
                self._judge.end(number, one.value)
                self._judged.add(number)
        if runs:
            write_pruned(progress.pruned | runs, self._file)
        return runs

    def _count(self, room: int, unsettled: int) -> int:
        settings = self._parts.settings
        count = min(math.ceil(room / max(1, len(self._parts.space.seeds))), self.wanted - len(self._settings))
        return count if settings.parallel is None else min(count, settings.parallel - unsettled)

    def _add_proposal(self, tried: list[Tried]) -> Point | None:
        """Add the trials of one more setting to the planner; `None` if all settings have been tried."""
        planner = self._planner_now()
        self._proposer = self._proposer or Proposer(self._space, self._parts.settings)
        for attempt in range(_ATTEMPTS):
            point = self._proposer.propose(tried, len(tried), attempt)
            if add_setting(planner, self._parts.space, point):
                return point
        points = drawn(self._space, self._parts.settings.seed)
        return next((point for point in points if add_setting(planner, self._parts.space, point)), None)

    def _planner_now(self) -> Planner:
        """Return a planner that knows the trials of the plan."""
        if self._planner is None:
            self._planner = Planner(
                self._parts.space, self._composed, self._parts.groups.__contains__, self._parts.options
            )
            self._planner.composed = dict(self._parts.composed)
            self._planner.trials = {trial.run_id: trial for trial in self.plan.trials}
            self._planner.needed = dict.fromkeys(self.plan.needed)
            self._planner.needs = {run: dict(roles) for run, roles in self.plan.needs.items()}
            self._planner.configs = dict(self.plan.configs)
        return self._planner

    def _composed(self, words: list[str]) -> Composed:
        if self._compose is None:
            raise SettingsError(
                "sweep",
                value=self.plan.sweep_id,
                rule="its settings interpolate one another, so new trials need the configuration",
                instead=self.plan.command,
            )
        return self._compose(words)

    def _write(self) -> None:
        planner = self._planner_now()
        self.plan = replace(
            self.plan,
            trials=tuple(planner.trials.values()),
            needed=tuple(run for run in planner.needed if run not in planner.trials),
            configs=dict(planner.configs),
            needs=dict(planner.needs),
        )
        write_plan(self.plan, self._file.parent)
        self._settings = _settings_of(self.plan)

    def _has_news(self, number: int, progress: Progress) -> bool:
        """Return whether to check a setting: all at first, then those that are training or have ended."""
        if number in self._judged:
            return False
        runs = self._settings[number].runs
        return (
            not self._heard_all
            or any(run in progress.running for run in runs)
            or self._outcome(runs, progress) != Outcome.OPEN
        )

    def _may_stop(self, number: int, one: Tried, needed: set[str]) -> bool:
        """Return whether a setting that has fallen behind may be stopped.

        Not in its last epoch, and not if another run needs it.
        """
        runs = self._settings[number].runs
        return (
            one.outcome is Outcome.OPEN
            and not needed.intersection(runs)
            and max(one.by_epoch) < self.plan.settings(runs[0]).trainer.max_epochs
        )

    def _tried(self, number: int, progress: Progress) -> Tried:
        if number in self._reached:
            return self._reached[number]
        setting = self._settings[number]
        outcome = self._outcome(setting.runs, progress)
        if outcome is not Outcome.REACHED:
            return Tried(setting.point, outcome, by_epoch=self._objective.by_epoch(setting.runs))
        value = self._objective.final(setting.runs)
        # A non-finite metric without a divergence counts as equally bad.
        outcome = Outcome.DIVERGED if value is None else outcome
        self._reached[number] = Tried(setting.point, outcome, value, self._objective.by_epoch(setting.runs))
        return self._reached[number]

    def _outcome(self, runs: tuple[str, ...], progress: Progress) -> Outcome:
        if all(run in progress.done for run in runs):
            return Outcome.REACHED
        if any(run in progress.pruned for run in runs):
            return Outcome.PRUNED
        codes = {progress.failed[run] for run in runs if run in progress.failed}
        if ExitCode.DIVERGED in codes:
            return Outcome.DIVERGED
        return Outcome.FAILED if codes else Outcome.OPEN


def _settings_of(plan: Plan) -> list[_Setting]:
    return [
        _Setting(
            {name: value for name, value in trials[0].point.items() if not is_seed(name)},
            tuple(trial.run_id for trial in trials),
        )
        for trials in by_setting(plan.trials).values()
    ]
