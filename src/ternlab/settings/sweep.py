"""Settings of a sweep, beside those of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ternlab.core.check import checked
from ternlab.core.fields import NonNegativeInt, PositiveInt, Section
from ternlab.errors import SettingsError, did_you_mean

# What may stand in a batch file or on the command line of SLURM: no quote, blank or newline ever does.
SlurmWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:,&|*=/@-]{0,127}$")]


class LocalCluster(Section):
    """Processes on this machine.

    Attributes:
        workers: trials beside one another (`None`: one for each core).
        threads: of each trial (`None`: the cores divided by the workers).
    """

    name: Literal["local"] = "local"
    workers: PositiveInt | None = None
    threads: PositiveInt | None = None


class SlurmCluster(Section):
    """Jobs of SLURM, as arrays, submitted with submitit.

    Attributes:
        partition, account, qos, constraint: as SLURM's options (`None`: its default).
        time: limit of a trial in minutes, between two requeueings.
        nodes: of each trial; with more than one, its processes train together.
        gpus_per_node: of each trial; on each node one process for each (`None`: CPUs alone).
        processes_per_node: of each trial where `gpus_per_node` is not set.
        cpus_per_task: cores of each trial on each node.
        mem_gb: memory of each trial on each node, in GB (`None`: SLURM's default).
        array_parallelism: trials of one array that run at a time; the trials of one baseline make an array.
        queue_limit: jobs of this sweep in the queue at a time (`None`: as many as SLURM takes).
        signal_seconds: how long before the time limit a trial is told to save.
        setup: lines of shell that each job runs first (`module load ...`).
    """

    name: Literal["slurm"] = "slurm"
    partition: SlurmWord | None = None
    account: SlurmWord | None = None
    qos: SlurmWord | None = None
    constraint: SlurmWord | None = None
    time: PositiveInt = 60
    nodes: PositiveInt = 1
    gpus_per_node: PositiveInt | None = None
    processes_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 1
    mem_gb: PositiveInt | None = None
    array_parallelism: PositiveInt = 256
    queue_limit: PositiveInt | None = None
    signal_seconds: PositiveInt = 90
    setup: tuple[str, ...] = ()


class RayCluster(Section):
    """Actors of Ray.

    Attributes:
        address: of a cluster that runs already, `HOST:PORT` (`None`: one of its own on this machine, on loopback).
        workers: trials at a time (`None`: as many as the resources allow).
        cpus_per_trial: cores of each trial.
        gpus_per_trial: GPUs of each trial; one process for each.
    """

    name: Literal["ray"] = "ray"
    address: str | None = None
    workers: PositiveInt | None = None
    cpus_per_trial: PositiveInt = 1
    gpus_per_trial: NonNegativeInt = 0


ClusterSettings = LocalCluster | SlurmCluster | RayCluster
_CLUSTERS: dict[str, type[ClusterSettings]] = {"local": LocalCluster, "slurm": SlurmCluster, "ray": RayCluster}


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
    metric: Literal["val/top1", "val/top5", "val/loss"] = "val/top1"
    seed: NonNegativeInt = 0
    pruner: Literal["none", "median", "hyperband"] = "none"
    min_epochs: PositiveInt = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3

    @property
    def stops_early(self) -> bool:
        """Whether settings that fall behind are stopped."""
        return self.name == "asha" or self.pruner != "none"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way the metric is better."""
        return "minimize" if self.metric.endswith("loss") else "maximize"


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
    cluster: ClusterSettings = Field(default_factory=LocalCluster)
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
    cluster = own.pop("cluster", {"name": "local"})
    # By its name and not by pydantic's union, whose messages are about all kinds of clusters at once.
    kind = _CLUSTERS.get(cluster.get("name"))
    if kind is None:
        raise SettingsError(
            "cluster.name",
            value=cluster.get("name"),
            rule="there is no such launcher",
            instead=did_you_mean(str(cluster.get("name")), list(_CLUSTERS)),
        )
    whole = checked(SweepSettings, own)
    _check_search(whole.search)
    return whole.model_copy(update={"cluster": checked(kind, cluster, prefix="cluster")})


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
