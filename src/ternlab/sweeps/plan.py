"""The plan of a sweep: every trial with its frozen settings, written before the first trial starts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ternlab.core.dotted import leaves, put
from ternlab.core.errors import SettingsError, StorageError
from ternlab.core.files import write_json
from ternlab.core.roles import BASELINE
from ternlab.core.user_files import default_path
from ternlab.settings.load import settings_from_config
from ternlab.settings.root import Settings

PLAN_VERSION = 3
# In this version, baselines were the only runs that trials needed.
_BASELINES_ONLY = 2
SEED = "seed"

Config = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        run_id: ID of the run; two points that produce the same run are one trial.
        point: the settings in which the trials differ.
        command: the command that trains only this run.
        baseline: ID of the full-precision baseline that it is compared with; `None` for a full-precision run.
    """

    run_id: str
    point: dict[str, Any]
    command: str
    baseline: str | None

    @property
    def setting(self) -> str:
        """The point as text, without its seed; trials that share it are repeats of one setting."""
        return " ".join(f"{name}={value}" for name, value in self.point.items() if not is_seed(name))


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep and the runs that they need. The plan of a search grows while it runs.

    Attributes:
        sweep_id: a hash of the trials, or of the search space and settings; the same command gives the same sweep.
        trials: in the order of the space, or of the search.
        needed: runs that trials depend on, directly or indirectly, in dependency order; without the trials themselves.
        configs: the frozen configuration of every run of the plan, by run ID; plain values.
        code: commit and diff of the code that made the plan.
        command: the command that made the plan.
        search: the state that a search needs to continue (`ternlab.sweeps.search_plan`); `None` if the trials are
            complete.
        pruned: runs that a search has stopped early; kept in a separate file next to the plan.
        metric: validation metric by which the best setting is chosen.
        any_code: whether trials may run on code other than `code`.
        folder: where the command was typed; relative paths are relative to it.
        needs: for each run that needs others of the plan, these runs and their roles (`ternlab.runs.needs.Need`).
    """

    sweep_id: str
    trials: tuple[Trial, ...]
    needed: tuple[str, ...]
    configs: Mapping[str, Config]
    code: dict[str, Any] | None
    command: str
    search: dict[str, Any] | None = None
    pruned: frozenset[str] = frozenset()
    metric: str = "val/top1"
    any_code: bool = False
    folder: str = ""
    needs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All runs, needed runs first."""
        return (*self.needed, *(trial.run_id for trial in self.trials))

    @property
    def roles(self) -> dict[str, str]:
        """The role of each needed run that is not a trial, e.g. `baseline`."""
        found = {run: role for roles in self.needs.values() for run, role in roles.items()}
        return {run: found.get(run, BASELINE) for run in self.needed}

    @property
    def baselines(self) -> tuple[str, ...]:
        """The needed runs that are baselines."""
        return tuple(run for run, role in self.roles.items() if role == BASELINE)

    @property
    def runs(self) -> Path:
        """Folder of the runs, relative to `folder`."""
        config = next(iter(self.configs.values()), None)
        return Path(config["paths"]["runs"]) if config else Path(default_path("runs"))

    def processes(self) -> int:
        """Return the largest number of processes on one machine of any run (`trainer.devices`)."""
        return max((self.configs[run].get("trainer", {}).get("devices") or 1 for run in self.configs), default=1)

    def may_use_gpus(self) -> bool:
        """Return whether any run of the plan would use a GPU."""
        return any(config.get("trainer", {}).get("accelerator") != "cpu" for config in self.configs.values())

    def refuse_nodes(self, cluster: str) -> None:
        """Reject multi-node runs for launchers that cannot start them.

        Raises:
            SettingsError: there is a multi-node run.
        """
        most = max((config.get("trainer", {}).get("nodes") or 1 for config in self.configs.values()), default=1)
        if most > 1:
            raise SettingsError(
                "trainer.nodes",
                value=most,
                rule=f"cluster={cluster} trains each run on a single node",
                instead="cluster=slurm cluster.nodes=N",
            )

    def settings(self, run: str) -> Settings:
        """Return the checked settings of a run of the plan."""
        return settings_from_config(self.configs[run])


def is_seed(name: str) -> bool:
    """Return whether an axis of this name holds repeats, which are never searched."""
    return name.lstrip("+") == SEED


def by_setting(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Return the trials of each setting, one per seed."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.setting, []).append(trial)
    return found


def merged(begun: Plan, now: Plan) -> Plan:
    """Return the saved plan, updated from the plan that the same command makes now: a search may have more trials."""
    known = {trial.run_id for trial in begun.trials}
    trials = (*begun.trials, *(trial for trial in now.trials if trial.run_id not in known))
    runs = {trial.run_id for trial in trials}
    needed = tuple(run for run in dict.fromkeys((*begun.needed, *now.needed)) if run not in runs)
    configs = begun.configs if len(trials) == len(begun.trials) else {**now.configs, **begun.configs}
    search = now.search or begun.search
    needs = {**now.needs, **begun.needs}
    return replace(begun, trials=trials, needed=needed, configs=configs, search=search, needs=needs)


def plan_file(folder: Path) -> Path:
    """Return the plan file of the sweep in `folder`."""
    return folder / "plan.json"


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write the plan to the sweep's folder, which must exist, and return the file."""
    path = plan_file(folder)
    write_json(path, _as_json(plan))
    return path


def write_pruned(runs: Collection[str], plan_file: Path) -> None:
    """Write the pruned runs to a file next to the plan, since they change more often and are much smaller."""
    write_json(_pruned_file(plan_file), {"runs": sorted(runs)})


def read_plan(path: Path) -> Plan:
    """Read a plan written by `write_plan`.

    Raises:
        SettingsError: there is no plan.
        StorageError: it is not readable, or of another version.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(
            "sweep",
            value=str(path.parent),
            rule="there is no such sweep",
            instead="python sweeps/launch.py -m SETTINGS (starts one)",
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: is not a readable plan ({error}).") from error
    if found.get("plan_version") not in (_BASELINES_ONLY, PLAN_VERSION):
        raise StorageError(
            f"{path}: was written by another version of ternlab.\n  instead: use the version that wrote it"
        )
    configs = _Parted(found["bases"], found["configs"])
    trials = tuple(Trial(**trial) for trial in found["trials"])
    needed, needs = _needs(found, trials, configs)
    return Plan(
        found["sweep_id"],
        trials,
        needed,
        configs,
        found["code"],
        found["command"],
        found.get("search"),
        _read_pruned(path),
        found["metric"],
        found["any_code"],
        found["folder"],
        needs,
    )


def _needs(
    found: dict[str, Any], trials: Iterable[Trial], configs: Collection[str]
) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """Return the needed runs of a plan on disk, and which runs need which."""
    if found["plan_version"] == PLAN_VERSION:
        return tuple(found["needed"]), found["needs"]
    # A baseline given by the user is not a run of the plan.
    baselines = {trial.run_id: trial.baseline for trial in trials if trial.baseline in configs}
    return tuple(found["baselines"]), {run: {str(baseline): BASELINE} for run, baseline in baselines.items()}


def _pruned_file(plan_file: Path) -> Path:
    return plan_file.with_name("pruned.json")


def _read_pruned(plan_file: Path) -> frozenset[str]:
    path = _pruned_file(plan_file)
    try:
        return frozenset(json.loads(path.read_text())["runs"])
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{path}: is not a readable list of runs ({error}).") from error


def _as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain values; configurations are stored as differences from a few base configurations."""
    bases: list[dict[str, Any]] = []
    configs = {name: _parted(bases, config) for name, config in plan.configs.items()}
    return {
        "plan_version": PLAN_VERSION,
        "sweep_id": plan.sweep_id,
        "command": plan.command,
        "code": plan.code,
        "any_code": plan.any_code,
        "folder": plan.folder,
        "metric": plan.metric,
        "trials": [vars(trial) for trial in plan.trials],
        # For scripts; ternlab itself reads the two entries below.
        "baselines": list(plan.baselines),
        "needed": list(plan.needed),
        "needs": {run: dict(roles) for run, roles in plan.needs.items()},
        **({} if plan.search is None else {"search": plan.search}),
        "bases": bases,
        "configs": configs,
    }


def _parted(bases: list[dict[str, Any]], config: Config) -> list[Any]:
    """Return [index of a base, entries that differ from it]; a configuration with other names becomes a new base."""
    flat = dict(leaves(config))
    for number, base in enumerate(bases):
        if base.keys() == flat.keys():
            return [number, {name: value for name, value in flat.items() if value != base[name]}]
    bases.append(flat)
    return [len(bases) - 1, {}]


class _Parted(Mapping[str, Config]):
    """Configurations as stored; each is assembled on access, since a trial needs only one."""

    def __init__(self, bases: list[dict[str, Any]], entries: dict[str, list[Any]]) -> None:
        self._bases, self._entries = bases, entries

    def __getitem__(self, run: str) -> Config:
        return _joined(self._bases, self._entries[run])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _joined(bases: list[dict[str, Any]], entry: list[Any]) -> Config:
    number, changes = entry
    config: Config = {}
    for name, value in {**bases[number], **changes}.items():
        put(config, name, value)
    return config
