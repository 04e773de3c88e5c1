"""Settings of a sweep, beside those of its trials."""

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

# Settings of `optuna` that are drawn before it learns (its own number); they need no result, so they are in the plan
# from the start.
FIRST = 10


class SearchSettings(Section):
    """Which points of the space are tried.

    Attributes:
        name: `grid` (all), `random`, `optuna` (TPE), or `asha` (random points, of which only the best go on).
        trials: settings to try, each with all its seeds; not for `grid`. A larger number goes on with the same search.
        parallel: of `optuna`: settings that are proposed before the results of earlier ones are there (`None`: as many
            as the launcher has room for).
        metric: that is made as large as it can be (as small, for a loss): a validation metric, mean over seeds.
        seed: of what is drawn.
        pruner: of `optuna` and `random`: stop settings early that fall behind, `none`, `median` or `hyperband`.
        min_epochs: epochs that every setting gets before it may be stopped early.
        reduction_factor: of `asha` and `hyperband`: one of so many goes on at each rung.
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
                "search.metric", value=metric, rule="is no metric that a search may use",
                instead=did_you_mean(metric, search_metrics()),
            )  # fmt: skip
        return metric

    @property
    def stops_early(self) -> bool:
        """Whether settings that fall behind are stopped."""
        return self.name == "asha" or self.pruner != "none"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way the metric is better."""
        return "minimize" if lower_is_better(self.metric) else "maximize"


class SweepSettings(Section):
    """How a plan is carried out.

    Attributes:
        sweep: id of a sweep to go on with as it was planned, whatever the configuration says by now.
        cluster: where trials run.
        search: which trials there are.
        dry_run: print the plan and start nothing.
        wait: stay until all trials have ended; `false` (SLURM only) returns once they are submitted.
        retries: how often a trial that has failed is started again.
        allow_other_code: go on with a sweep that was planned by another commit or with other changes.
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
    """Return the settings of a sweep among those of a configuration.

    Raises:
        SettingsError: an unknown key or a value outside its range.
    """
    own = {name: values[name] for name in SweepSettings.model_fields if name in values}
    whole = checked(SweepSettings, own)
    _check_search(whole.search)
    return whole


def _check_search(search: SearchSettings) -> None:
    """Refuse settings of a search that is another one."""
    if search.name == "grid" and search.trials is not None:
        raise SettingsError(
            "search.trials",
            value=search.trials,
            rule="a grid tries every point",
            instead=f"search=random search.trials={search.trials}, or leave it out",
        )
    if search.name != "grid" and search.trials is None:
        raise SettingsError(
            "search.trials", rule=f"search={search.name} must know how many settings to try", instead="search.trials=20"
        )
    if search.pruner != "none" and search.name not in ("random", "optuna"):
        why = "stops settings early by itself" if search.name == "asha" else "tries every point to its end"
        raise SettingsError(
            "search.pruner",
            value=search.pruner,
            rule=f"search={search.name} {why}",
            instead=f"search=random search.pruner={search.pruner}, or leave it out",
        )
