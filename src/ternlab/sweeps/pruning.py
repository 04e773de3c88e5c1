"""Early stopping of poor settings with Optuna's pruners; this module imports Optuna."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import Trial, TrialState

from ternlab.sweeps.settings import SearchSettings


class Judge:
    """Compares settings by their values after each epoch.

    Rungs record which settings have reached them, so values are reported in the order of arrival. After a restart they
    are reported again epoch by epoch, as if all settings had trained at the same pace.

    Args:
        search: the search settings.
        name: name of the sweep; `hyperband` uses it to assign settings to brackets.
        epochs: epochs of the longest run.
    """

    def __init__(self, search: SearchSettings, name: str, epochs: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Only the trial numbers matter here, not the points.
        self._study = optuna.create_study(
            study_name=name,
            direction=search.direction,
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=_pruner(search, epochs),
        )
        self._trials: list[Trial] = []
        self._heard: dict[int, int] = {}

    def behind(self, values: Mapping[int, Mapping[int, float]]) -> set[int]:
        """Report values and return the settings whose latest value is too poor to continue.

        Args:
            values: for each setting (by its number in the plan), its value after each finished epoch.
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
            # Always called, since only this registers the setting at its rung; the latest answer counts.
            if trial.should_prune():
                found.add(number)
            else:
                found.discard(number)
        return found

    def end(self, number: int, value: float | None) -> None:
        """Record that a setting has ended; without a value it was stopped or failed."""
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
