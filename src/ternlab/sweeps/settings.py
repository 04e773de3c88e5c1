"""Settings of a sweep, in addition to those of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from ternlab.core.check import checked
from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.core.fields import NonNegativeInt, PositiveInt, Section
from ternlab.metrics.registry import VAL, lower_is_better, search_metrics
from ternlab.sweeps.cluster import ClusterSettings
from ternlab.sweeps.launchers import cluster_settings

# Random settings of `optuna` before TPE starts (Optuna's default number). They need no results, so they are in the plan
# from the start.
FIRST = 10


class SearchSettings(Section):
    """Which points of the space are tried.

    Attributes:
        name: `grid` (all), `random`, `optuna` (TPE), or `asha` (random points, of which only the best continue).
        trials: number of settings to try, each with all its seeds; not for `grid`. Increase it to extend a search.
        parallel: for `optuna`: number of settings proposed before earlier results are available (`None`: as many as
            the launcher can run).
        metric: validation metric to maximize (minimize, for a loss), as the mean over seeds.
        seed: seed of the search.
        pruner: for `optuna` and `random`: stops poor settings early; `none`, `median` or `hyperband`.
        min_epochs: epochs that every setting gets before it may be stopped early.
        reduction_factor: for `asha` and `hyperband`: one in this many settings continues at each rung.
    """

    name: Literal["grid", "random", "optuna", "asha"] = "grid"
    trials: PositiveInt | None = None
    parallel: PositiveInt | None = None
    metric: str = VAL
    seed: NonNegativeInt = 0
    pruner: Literal["none", "median", "hyperband"] = "none"
    min_epochs: PositiveInt = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in search_metrics():
            raise SettingsError(
                "search.metric", value=metric, rule="is not a metric that a search can use",
                instead=did_you_mean(metric, search_metrics()),
            )  # fmt: skip
        return metric

    @property
    def stops_early(self) -> bool:
        """Whether settings that fall behind are stopped early."""
        return self.name == "asha" or self.pruner != "none"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The direction in which the metric is better."""
        return "minimize" if lower_is_better(self.metric) else "maximize"


class SweepSettings(Section):
    """How to run a plan.

    Attributes:
        sweep: ID of a sweep to resume as it was planned, whatever the current configuration.
        cluster: where trials run.
        search: how trials are chosen.
        dry_run: print the plan without starting anything.
        wait: wait until all trials have ended; `false` (SLURM only) returns once they are submitted.
        retries: how often a failed trial is restarted.
        allow_other_code: resume a sweep that was planned by another commit or with other uncommitted changes.
    """

    sweep: str | None = None
    cluster: Annotated[SerializeAsAny[ClusterSettings], BeforeValidator(cluster_settings)] = Field(
        default_factory=lambda: cluster_settings({})
    )
    search: SearchSettings = Field(default_factory=SearchSettings)
    dry_run: bool = False
    wait: bool = True
    retries: NonNegativeInt = 1
    allow_other_code: bool = False


def sweep_settings(values: Mapping[str, Any]) -> SweepSettings:
    """Return the sweep settings of a configuration.

    Raises:
        SettingsError: a key is unknown or a value out of range.
    """
    own = {name: values[name] for name in SweepSettings.model_fields if name in values}
    whole = checked(SweepSettings, own)
    _check_search(whole.search)
    return whole


def _check_search(search: SearchSettings) -> None:
    """Reject settings that belong to another kind of search."""
    if search.name == "grid" and search.trials is not None:
        raise SettingsError(
            "search.trials",
            value=search.trials,
            rule="does not apply to a grid, which tries every point",
            instead=f"search=random search.trials={search.trials}, or leave it out",
        )
    if search.name != "grid" and search.trials is None:
        raise SettingsError(
            "search.trials",
            rule=f"search={search.name} needs the number of settings to try",
            instead="search.trials=20",
        )
    if search.pruner != "none" and search.name not in ("random", "optuna"):
        why = "already stops settings early" if search.name == "asha" else "trains every point to the end"
        raise SettingsError(
            "search.pruner",
            value=search.pruner,
            rule=f"search={search.name} {why}",
            instead=f"search=random search.pruner={search.pruner}, or leave it out",
        )
