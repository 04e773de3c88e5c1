"""Points proposed by Optuna's TPE from the results of earlier points; this module imports Optuna."""

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
    """The outcome of a setting."""

    OPEN = "open"
    REACHED = "reached"
    PRUNED = "pruned"
    FAILED = "failed"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Tried:
    """One proposed setting.

    Attributes:
        point: the point without seeds.
        outcome: the outcome so far.
        value: mean over its seeds, if available.
        by_epoch: the same after each finished epoch.
    """

    point: Mapping[str, Any]
    outcome: Outcome
    value: float | None = None
    by_epoch: Mapping[int, float] = field(default_factory=dict)


_STATES = {
    Outcome.OPEN: TrialState.RUNNING,
    Outcome.REACHED: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    # Its value is unknown; TPE ignores it.
    Outcome.FAILED: TrialState.FAIL,
    # TPE must avoid it, which FAIL does not achieve, and any made-up value would be biased. Optuna sorts a pruned trial
    # without values behind all others, so it always counts as bad.
    Outcome.DIVERGED: TrialState.PRUNED,
}


class Proposer:
    """Proposes points.

    A new study is created for each proposal from the results on disk, and its sampler is seeded by the number of the
    proposal. A search that was killed therefore resumes as if it had not been interrupted.

    Args:
        space: without the seed axis.
        search: the search settings.
    """

    def __init__(self, space: Space, search: SearchSettings) -> None:
        self._space, self._search = space, search
        self._distributions = {axis.name: _distribution(axis) for axis in space.axes}
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def propose(self, tried: Sequence[Tried], number: int, attempt: int = 0) -> Point:
        """Return the next point. It may have been tried already; a further attempt then gives another point.

        Args:
            tried: all settings so far; settings without a result are avoided as if they were bad.
            number: number of this proposal.
            attempt: number of the attempt, from 0.
        """
        seed = Random(f"{self._search.seed}/{number}/{attempt}").getrandbits(32)  # noqa: S311 - not used for security
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
