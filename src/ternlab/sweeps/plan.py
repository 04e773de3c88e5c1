"""The plan of a sweep: every trial with its frozen settings, written before the first one starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ternlab.errors import SettingsError, StorageError
from ternlab.runs import provenance
from ternlab.runs.files import write_json
from ternlab.runs.identity import run_id
from ternlab.settings.load import config_of, settings_from_config, twin_of
from ternlab.settings.quant import QuantSettings
from ternlab.settings.root import Settings
from ternlab.sweeps.space import Axis, Point, Space

PLAN_VERSION = 1
_HASH_LETTERS = 10
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

Config = dict[str, Any]


@dataclass(frozen=True)
class Composed:
    """What Hydra makes of overrides.

    Attributes:
        config: the resolved configuration of a training.
        linked: whether a value in it was taken from another one (`${optim.lr}`).
    """

    config: Config
    linked: bool = False


Compose = Callable[[list[str]], Composed]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        run_id: of the run; two points that make the same run are one trial.
        point: the settings in which the trials differ.
        command: what a person types to train this run alone.
        baseline: id of the full-precision twin; `None` for a run in full precision.
    """

    run_id: str
    point: dict[str, Any]
    command: str
    baseline: str | None


@dataclass(frozen=True)
class Plan:
    """A sweep before it is carried out.

    Attributes:
        sweep_id: a hash of the trials: the same command has the same sweep.
        trials: in the order of the space.
        baselines: runs that trials need first, each once; not among the trials.
        configs: the frozen configuration of every run of the plan, by run id; plain values.
        code: commit and difference of the program that made the plan.
        command: that made the plan.
    """

    sweep_id: str
    trials: tuple[Trial, ...]
    baselines: tuple[str, ...]
    configs: Mapping[str, Config]
    code: dict[str, Any] | None
    command: str

    def processes(self) -> int:
        """Return the processes on one machine of the run that has the most (`trainer.devices`)."""
        return max(self.configs[run].get("trainer", {}).get("devices") or 1 for run in self.configs)

    def settings(self, run: str) -> Settings:
        """Return the checked settings of a run of the plan."""
        return settings_from_config(self.configs[run])


def make_plan(
    space: Space, compose: Compose, is_group: Callable[[str], bool], command: str, options: Sequence[str] = ()
) -> Plan:
    """Return the plan of a space; nothing is written.

    Args:
        space: what is tried.
        compose: Hydra's composition. It is asked once for each combination of group choices; other values are put
            into its result, since composing takes hundredths of a second and a plan may have ten thousand trials.
        is_group: whether a name is a configuration group.
        command: that is typed again to go on.
        options: of Hydra, which a trial's own command needs too (`--config-dir FOLDER`).

    Raises:
        SettingsError: a point that cannot be trained; the point is named.
    """
    composed: dict[tuple[str, ...], Composed] = {}
    twins: dict[Settings, tuple[str, Config]] = {}
    trials: dict[str, Trial] = {}
    configs: dict[str, Config] = {}
    baselines: dict[str, None] = {}
    typed = {
        (axis.name, repr(value)): text
        for axis in space.axes
        for value, text in zip(axis.values, axis.typed, strict=True)
    }
    asked_of_hydra = {axis.name for axis in space.axes if not _is_plain(axis, is_group)}
    for point in space.points():
        words = [typed[name, repr(value)] for name, value in point]
        key = tuple(word for word, (name, _) in zip(words, point, strict=True) if name in asked_of_hydra)
        if key not in composed:
            # With the values too: Hydra then knows every name, or says what is wrong with it.
            composed[key] = compose([*space.fixed, *words])
        config = composed[key].config
        if composed[key].linked:
            config = compose([*space.fixed, *words]).config
        else:
            for name, value in point:
                if name not in asked_of_hydra:
                    config = _with(config, name.lstrip("+").split("."), value)
        settings = _checked(config, point)
        run = run_id(settings)
        baseline = settings.baseline.run if settings.quant.active else None
        if settings.quant.active and settings.baseline.run is None:
            baseline = _add_twin(settings, point, twins, configs)
            baselines[baseline] = None
        configs[run] = config
        trials.setdefault(run, Trial(run, dict(point), _command(options, space.fixed, words), baseline))
    for name in trials:
        baselines.pop(name, None)
    return Plan(_sweep_id(trials), tuple(trials.values()), tuple(baselines), configs, provenance.git_state(), command)


def plan_file(folder: Path) -> Path:
    """Return where the plan of the sweep in `folder` is written."""
    return folder / "plan.json"


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write the plan into the sweep's folder, which is there, and return the file."""
    path = plan_file(folder)
    write_json(path, _as_json(plan))
    return path


def read_plan(path: Path) -> Plan:
    """Read what `write_plan` wrote.

    Raises:
        SettingsError: there is no plan.
        StorageError: it is not readable, or of a later version.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(
            "sweep", value=str(path.parent), rule="there is no such sweep", instead="ternlab sweep list"
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: is not a readable plan ({error}).") from error
    if found.get("plan_version") != PLAN_VERSION:
        raise StorageError(f"{path}: is a plan of another version of ternlab.\n  instead: the version that made it")
    configs = _Parted(found["bases"], found["configs"])
    trials = tuple(Trial(**trial) for trial in found["trials"])
    return Plan(found["sweep_id"], trials, tuple(found["baselines"]), configs, found["code"], found["command"])


def _checked(config: Config, point: Point) -> Settings:
    with _naming(point):
        settings = settings_from_config(config)
        if settings.force:
            raise SettingsError(
                "force",
                value=True,
                rule="would throw away what a sweep goes on with",
                instead="leave it out; python src/train.py ... force=true trains one run afresh",
            )
    return settings


def _add_twin(
    settings: Settings, point: Point, twins: dict[Settings, tuple[str, Config]], configs: dict[str, Config]
) -> str:
    """Add the full-precision twin to `configs`, and return its id; `twins` are those that are known already."""
    # Nothing of the quantization is in the twin: trials that differ in nothing else share it.
    rest = settings.model_copy(update={"quant": QuantSettings()})
    if rest not in twins:
        with _naming(point):
            twin = twin_of(settings)
        twins[rest] = run_id(twin), config_of(twin)
    run, config = twins[rest]
    configs.setdefault(run, config)
    return run


@contextlib.contextmanager
def _naming(point: Point) -> Iterator[None]:
    """Add to a message which trial it is about."""
    try:
        yield
    except SettingsError as error:
        if point:
            error.args = (f"{error}\n  at: {' '.join(f'{name}={value}' for name, value in point)}",)
        raise


def _is_plain(axis: Axis, is_group: Callable[[str], bool]) -> bool:
    """Return whether the values of an axis can be put into a configuration; Hydra itself must place all others."""
    name = axis.name.lstrip("+")
    return (
        _NAME.fullmatch(name) is not None
        and not is_group(name)
        and not any(isinstance(value, dict) or "${" in str(value) for value in axis.values)
    )


def _with(config: Config, path: list[str], value: Any) -> Config:
    """Return `config` with one value changed; what is not on its way is shared with the original."""
    head, *rest = path
    return {**config, head: _with(config[head], rest, value) if rest else value}


def _command(options: Iterable[str], fixed: Iterable[str], words: Iterable[str]) -> str:
    return shlex.join(["python", "src/train.py", *options, *fixed, *words])


def _sweep_id(trials: Iterable[str]) -> str:
    digest = hashlib.sha256("\n".join(sorted(trials)).encode()).hexdigest()
    return f"sweep-{digest[:_HASH_LETTERS]}"


def _as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain values; configurations are written as their difference from a few whole ones."""
    bases: list[dict[str, Any]] = []
    configs = {name: _parted(bases, config) for name, config in plan.configs.items()}
    return {
        "plan_version": PLAN_VERSION,
        "sweep_id": plan.sweep_id,
        "command": plan.command,
        "code": plan.code,
        "trials": [vars(trial) for trial in plan.trials],
        "baselines": list(plan.baselines),
        "bases": bases,
        "configs": configs,
    }


def _parted(bases: list[dict[str, Any]], config: Config) -> list[Any]:
    """Return [number of a base, entries that differ from it]; a base with other names is a new one."""
    flat = dict(_flat(config))
    for number, base in enumerate(bases):
        if base.keys() == flat.keys():
            return [number, {name: value for name, value in flat.items() if value != base[name]}]
    bases.append(flat)
    return [len(bases) - 1, {}]


class _Parted(Mapping[str, Config]):
    """Configurations as they are written; each is put together when it is asked for, since a trial needs one."""

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
        *parents, leaf = name.split(".")
        branch = config
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return config


def _flat(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict) and value and not any("." in str(key) for key in value):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
