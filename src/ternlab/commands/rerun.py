"""`ternlab rerun`: train a run again with some settings changed."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

import ternlab
from ternlab.commands.choices import choices
from ternlab.core.dotted import leaves, put
from ternlab.core.errors import ExitCode, SettingsError, did_you_mean
from ternlab.core.text import aligned
from ternlab.runs.directory import RunDirectory, existing_run, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.record import Status
from ternlab.runs.table import print_table
from ternlab.settings.load import config_of, settings_from_config
from ternlab.settings.root import Settings

_CONF = Path(ternlab.__file__).parents[2] / "conf"
# Groups that set values of several other groups: which of them were typed before is not known any more.
_RECIPES = frozenset({"experiment", "debug"})


def rerun(chosen: argparse.Namespace) -> ExitCode:
    """Train the run with the changes, and print its table.

    Raises:
        SettingsError: there is no such run, or a change is not possible or changes nothing.
        TernlabError: the training ended early; see `ternlab.training.train_run`.
    """
    source = existing_run(chosen.runs, chosen.run)
    before = source.settings()
    after = settings_from_config(changed(source.config(), chosen.changes))
    directory = run_directory(after.paths.runs, run_id(after))
    _check_new(source, directory, after)
    command = shlex.join(["ternlab", "rerun", str(source.path), *chosen.changes])
    print(*_about(source, before, after, directory, command), sep="\n", flush=True)
    if chosen.dry_run:
        return ExitCode.DONE
    return _train(after, command)


def changed(config: dict[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a run with changes, in Hydra's grammar.

    Args:
        config: the frozen configuration; not changed.
        typed: `name=value`, or `group=choice` for a group of conf/, which replaces the whole group. Groups are taken
            first, as on the command line of a training.

    Raises:
        SettingsError: a word is not a change, there is no such setting or choice, or it has several values.
    """
    groups = choices([_CONF]) if _CONF.is_dir() else {}
    changes = [_parsed(word) for word in typed]
    result = {name: value for name, value in config.items() if name != "force"}
    for one in sorted(changes, key=lambda one: one.key_or_group not in groups):
        name = one.key_or_group
        if name in _RECIPES:
            rule = "a recipe sets several groups, and which of them the run took is not known"
            raise SettingsError(name, value=one.value(), rule=rule, instead="give the settings one by one")
        if name in groups:
            result[name] = _section(name, str(one.value()), groups[name])
        else:
            _put(result, name, one.value())
    return result


def _parsed(word: str) -> Override:
    try:
        one = OverridesParser.create().parse_override(word)
    except HydraException:
        raise SettingsError("ternlab rerun", value=word, rule="is not name=value", instead="seed=1") from None
    if one.is_sweep_override():
        rule = "several values would be several runs"
        raise SettingsError(
            one.key_or_group, value=word.partition("=")[2], rule=rule, instead="one value for each rerun"
        )
    if one.is_delete():
        raise SettingsError("ternlab rerun", value=word, rule="removes a setting", instead="give the setting a value")
    return one


def _section(group: str, choice: str, known: Sequence[str]) -> Any:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    if choice not in known:
        raise SettingsError(group, value=choice, rule="there is no such choice", instead=did_you_mean(choice, known))
    with initialize_config_dir(str(_CONF), version_base="1.3"):
        composed = compose("train", overrides=[f"{group}={choice}"])
    return OmegaConf.to_container(composed[group], resolve=True)


def _put(config: dict[str, Any], name: str, value: Any) -> None:
    try:
        put(config, name, value)
    except ValueError as error:
        raise SettingsError(
            name, value=value, rule=f"{error} is not a group of settings", instead=f"{error}=..."
        ) from None


def _check_new(source: RunDirectory, directory: RunDirectory, after: Settings) -> None:
    """Refuse changes that give the same run again, if that has ended."""
    final = (source.record() or {}).get("status") in (Status.FINISHED, Status.DIVERGED)
    if directory.path == source.path and final and not after.force:
        raise SettingsError(
            "ternlab rerun",
            rule="these changes cannot affect the result, so this is the same run, which has ended",
            instead="change another setting, or add force=true to move the run aside and train it again",
        )


def _about(source: RunDirectory, before: Settings, after: Settings, directory: RunDirectory, command: str) -> list[str]:
    old, new = (dict(leaves(config_of(one))) for one in (before, after))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    rows = [(name, _text(old, name), _text(new, name)) for name in names]
    frozen = f"to resume once it has started: {directory.command()}"
    return [f"{source.run_id} -> {directory.run_id}", *aligned([("setting", "before", "now"), *rows]), command, frozen]


def _text(values: dict[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "-"


def _train(settings: Settings, command: str) -> ExitCode:
    # Deferred: a dry run needs none of this.
    from ternlab.core.logs import log_to_terminal
    from ternlab.core.wait_policy import set_wait_policy
    from ternlab.training.train_run import followed, train_run

    set_wait_policy()
    log_to_terminal()
    directory, _ = train_run(settings, command)
    if followed(settings) is None:
        print_table(directory)
    return ExitCode.DONE
