"""The sweep command: make a plan from overrides in Hydra's grammar."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ternlab.commands.run_sweep import run_sweep
from ternlab.commands.sweeps import own_plan
from ternlab.core.errors import SettingsError
from ternlab.runs import provenance
from ternlab.settings.load import import_plugins
from ternlab.sweeps.local import warm_up
from ternlab.sweeps.plan import Config
from ternlab.sweeps.planner import Composed, make_plan
from ternlab.sweeps.search_plan import make_search_plan
from ternlab.sweeps.settings import SweepSettings, sweep_settings
from ternlab.sweeps.space import Space, space_of

# Group choices without a value of their own; their contents are already merged.
_NOT_OF_A_TRIAL = ("experiment", "debug")
# Hydra options that add configuration folders; a trial's own command needs them too.
_OPTIONS_OF_CONFIG = ("--config-dir", "-cd")


def main(
    loader: ConfigLoader, config: DictConfig, typed: list[str], default: Sequence[str], params: Sequence[str] = ()
) -> int:
    """Sweep over the overrides of a command line.

    Args:
        loader: Hydra's configuration loader; composes the configuration of a trial.
        config: the composed configuration of the sweep.
        typed: the overrides, including those of the sweep itself.
        default: the search space to use if there is no other.
        params: the search space of an experiment.
    """
    whole = _plain(config)
    import_plugins(whole.get("plugins") or ())
    wanted = sweep_settings(whole)
    runs, sweeps = Path(whole["paths"]["runs"]), Path(whole["paths"]["sweeps"])
    of_trials = [word for word in typed if not _of_the_sweep(word)]
    _refuse_axes_of_the_sweep(word for word in typed if _of_the_sweep(word))
    if wanted.sweep is not None:
        return _go_on(wanted.sweep, [word for word in of_trials if not word.startswith("paths.")], wanted, sweeps)
    searches = wanted.search.name != "grid"
    space = space_of(of_trials, default, params, loader, intervals=searches)
    _refuse_paths(space)
    groups = set(loader.list_groups(""))
    space = replace(space, fixed=(*_own_choices(loader, str(config.hydra.job.config_name), space), *space.fixed))

    def compose(overrides: list[str]) -> Composed:
        # As `src/train.py` does with the same overrides: a trial's own command creates the same run.
        found = loader.load_configuration(config_name="train", overrides=overrides, run_mode=RunMode.RUN)
        return Composed(
            {key: value for key, value in _plain(found).items() if key not in _NOT_OF_A_TRIAL}, _linked(found)
        )

    how = (compose, groups.__contains__, provenance.command(), _options(sys.orig_argv))
    plan = make_search_plan(space, wanted.search, *how) if searches else make_plan(space, *how)
    plan = replace(plan, metric=wanted.search.metric, folder=str(Path.cwd()))
    if wanted.cluster.name == "local" and not wanted.dry_run:
        # Not before planning: after a typo, a process would hold the terminal's pipes until torch is imported.
        warm_up()
    return run_sweep(plan, wanted, runs, sweeps, compose)


def _go_on(name: str, others: list[str], wanted: SweepSettings, sweeps: Path) -> int:
    if others:
        raise SettingsError(
            "sweep",
            value=name,
            rule=f"has its settings already, so {' '.join(others)} cannot be set",
            instead=f"sweep={name} without trial settings, or the settings without sweep=",
        )
    plan, folder = own_plan(sweeps, name)
    return run_sweep(plan, wanted, plan.runs, folder.parent)


def _refuse_axes_of_the_sweep(typed: Iterable[str]) -> None:
    for override in OverridesParser.create().parse_overrides(list(typed)):
        if override.is_sweep_override():
            raise SettingsError(
                override.key_or_group,
                rule="applies to the whole sweep, so it takes one value",
                instead=f"{override.key_or_group}=VALUE (one sweep per value)",
            )


def _refuse_paths(space: Space) -> None:
    for axis in space.axes:
        if axis.name.lstrip("+").split(".")[0] == "paths":
            raise SettingsError(
                axis.name,
                rule="applies to the whole sweep, so it takes one value",
                instead=f"{axis.name}=FOLDER (one sweep per folder)",
            )


def _own_choices(loader: ConfigLoader, name: str, space: Space) -> list[str]:
    """Return the group choices in which the configuration `name` differs from train.yaml, as overrides.

    Choices of the search space, or of an experiment in it, take precedence.
    """
    words = [*space.fixed, *(word for axis in space.axes for word in axis.typed[:1])]
    names = {word.lstrip("+~").partition("=")[0] for word in words}
    experiments = [word for word in words if word.lstrip("+").startswith("experiment=")]
    ours, before, theirs = (
        loader.load_configuration(config_name=one, overrides=chosen, run_mode=RunMode.RUN).hydra.runtime.choices
        for one, chosen in ((name, []), ("train", []), ("train", experiments))
    )
    return [
        f"{group}={choice}"
        for group, choice in ours.items()
        if group not in names
        and not group.startswith("hydra/")
        and not _of_the_sweep(group)
        and before.get(group) != choice
        and theirs.get(group) == before.get(group)
    ]


def _linked(config: DictConfig) -> bool:
    """Return whether a value interpolates another one."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return "${" in str(OmegaConf.to_container(own, resolve=False))


def _options(words: Sequence[str]) -> list[str]:
    """Return the options of a command line that name configuration folders."""
    found: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, _ = word.partition("=")
        if name in _OPTIONS_OF_CONFIG:
            found += [word] if equals else [word, following]
    return found


def _plain(config: DictConfig) -> Config:
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    values: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    return dict(values)


def _of_the_sweep(override: str) -> bool:
    name = override.lstrip("+~").partition("=")[0]
    return name.partition(".")[0] in SweepSettings.model_fields
