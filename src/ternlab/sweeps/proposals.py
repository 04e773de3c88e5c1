"""Points that Optuna's TPE proposes from what earlier ones have reached; Optuna is imported with this module."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ternlab.sweeps.settings import FIRST, SearchSettings
from ternlab.sweeps.space import Axis, Point, Space


class Outcome(StrEnum):
    """What came of a setting."""

    OPEN = "open"
    REACHED = "reached"
    PRUNED = "pruned"
    FAILED = "failed"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Tried:
    """One setting that was proposed.

    Attributes:
        point: without seeds.
        outcome: so far.
        value: mean over its seeds, when it was reached.
        by_epoch: the same for each finished epoch.
    """

    point: Mapping[str, Any]
    outcome: Outcome
    value: float | None = None
    by_epoch: Mapping[int, float] = field(default_factory=dict)


_STATES = {
    Outcome.OPEN: TrialState.RUNNING,
    Outcome.REACHED: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    # Nobody knows what it would have reached; TPE leaves it out.
    Outcome.FAILED: TrialState.FAIL,
    # It must steer away, which FAIL does not, and it has no value that could be made up without a bias. Optuna sorts a
    # pruned trial without values behind all others, so that it is always among the bad ones.
    Outcome.DIVERGED: TrialState.PRUNED,
}


class Proposer:
    """Proposes points.

    A study is made afresh for each proposal, from what is on the disk, and its sampler is seeded by the number of the
    proposal: so a search that was killed goes on as if it had not been.

    Args:
        space: without the axis of the seeds.
        search: its settings.
    """

    def __init__(self, space: Space, search: SearchSettings) -> None:
        self._space, self._search = space, search
        self._distributions = {axis.name: _distribution(axis) for axis in space.axes}
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def propose(self, tried: Sequence[Tried], number: int, attempt: int = 0) -> Point:
        """Return the next point; it may be one that was tried, then another attempt gives another one.

        Args:
            tried: all settings so far; settings whose result is not there are avoided as if they were bad.
            number: of this proposal.
            attempt: from 0.
        """
        seed = Random(f"{self._search.seed}/{number}/{attempt}").getrandbits(32)  # noqa: S311 - nobody guesses it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=FIRST, multivariate=True, constant_liar=True
            )
        study = optuna.create_study(direction=self._search.direction, sampler=sampler)
        study.add_trials([self._trial(one) for one in tried])
        params = study.ask(self._distributions).params
        return tuple((axis.name, _value(axis, params[axis.name])) for axis in self._space.axes)

    def _trial(self, one: Tried) -> FrozenTrial:
        return create_trial(
            state=_STATES[one.outcome],
            value=one.value if one.outcome is Outcome.REACHED else None,
            params={axis.name: _param(axis, one.point[axis.name]) for axis in self._space.axes},
            distributions=self._distributions,
            intermediate_values={} if one.outcome is Outcome.DIVERGED else dict(one.by_epoch),
        )


def _distribution(axis: Axis) -> BaseDistribution:
    between = axis.interval
    if between is None:
        places = len(axis.values)
        return IntDistribution(0, places - 1) if axis.ordered else CategoricalDistribution(tuple(range(places)))
    if between.whole:
        return IntDistribution(int(between.start), int(between.stop), log=between.log)
    return FloatDistribution(between.start, between.stop, log=between.log)


def _value(axis: Axis, param: Any) -> Any:
    return axis.values[param] if axis.interval is None else axis.interval.rounded(param)


def _param(axis: Axis, value: Any) -> Any:
    return axis.place(value) if axis.interval is None else value
