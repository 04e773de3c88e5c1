"""Which settings have fallen behind, by Optuna's pruners; Optuna is imported with this module."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import Trial, TrialState

from ternlab.sweeps.settings import SearchSettings


class Judge:
    """Compares settings by their values after each epoch.

    Rungs remember who has reached them, so values are heard in the order in which they come. After a restart they are
    heard again epoch by epoch, as if all settings had trained at the same pace.

    Args:
        search: its settings.
        name: of the sweep; `hyperband` deals settings out to its brackets by it.
        epochs: of the longest run.
    """

    def __init__(self, search: SearchSettings, name: str, epochs: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Numbers of trials alone: the points are of no interest here.
        self._study = optuna.create_study(
            study_name=name,
            direction=search.direction,
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=_pruner(search, epochs),
        )
        self._trials: list[Trial] = []
        self._heard: dict[int, int] = {}

    def behind(self, values: Mapping[int, Mapping[int, float]]) -> set[int]:
        """Hear values and return the settings whose newest one is too bad to go on.

        Args:
            values: for each setting (by its number in the plan), what it has reached after each finished epoch.
        """
        found: set[int] = set()
        new = [
            (epoch, number, value)
            for number, reached in values.items()
            for epoch, value in reached.items()
            if epoch > self._heard.get(number, 0)
        ]
        for epoch, number, value in sorted(new):
            trial = self._trial(number)
            trial.report(value, epoch)
            self._heard[number] = epoch
            # Always asked, since only that takes the setting onto its rung; what counts is the newest answer.
            if trial.should_prune():
                found.add(number)
            else:
                found.discard(number)
        return found

    def end(self, number: int, value: float | None) -> None:
        """Note that a setting has ended; without a value it was stopped or has failed."""
        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
        self._study.tell(self._trial(number), value, state=state)

    def _trial(self, number: int) -> Trial:
        while len(self._trials) <= number:
            self._trials.append(self._study.ask())
        return self._trials[number]


def _pruner(search: SearchSettings, epochs: int) -> BasePruner:
    if search.name == "asha":
        return SuccessiveHalvingPruner(min_resource=search.min_epochs, reduction_factor=search.reduction_factor)
    if search.pruner == "hyperband":
        return HyperbandPruner(
            min_resource=search.min_epochs,
            max_resource=max(epochs, search.min_epochs),
            reduction_factor=search.reduction_factor,
        )
    return MedianPruner(n_warmup_steps=search.min_epochs)
