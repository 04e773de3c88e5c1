"""Translates Hydra's errors into messages that say what to type instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf

from ternlab.commands.choices import choices, own_folders
from ternlab.core.dotted import leaves, names
from ternlab.core.errors import NO_DEFAULT, SettingsError, did_you_mean, near_matches, one_of

_NO_KEY = re.compile(r"Key '([^']+)' is not in struct")
_FULL_KEY = re.compile(r"full_key: (\S+)")
_MISSING = re.compile(r"Missing mandatory value: (\S+)")
_NOT_PARSED = re.compile(r"Error parsing override '(.*)'")
_AMBIGUOUS = re.compile(r"Ambiguous value for argument '(.*)'")
_COULD_NOT = re.compile(r"Could not override '([^']+)'")
# Groups whose members have user-defined names.
_OPEN = ("objectives",)


def refuse_values_of_groups(overrides: list[str], config: Path) -> None:
    """Refuse a value other than names for a group of conf/ (`data=null`, `optim=[1]`), on which Hydra itself fails.

    Raises:
        SettingsError: the choices of the group are listed.
    """
    known = choices([config.parent, *own_folders(overrides)])
    for word in overrides:
        group, equals, text = word.partition("=")
        if not equals or group not in known:
            continue
        try:
            (override,) = OverridesParser.create().parse_overrides([word])
        except HydraException:
            return
        given: Any = override.value()
        names_given = given if isinstance(given, list) else [given]
        if override.is_sweep_override() or all(isinstance(name, str | QuotedString) and name for name in names_given):
            continue
        rule = "is a group of settings, and its value is the name of a choice"
        raise SettingsError(group, value=text, rule=rule, instead=one_of(known[group]))


def settings_error(error: Exception, overrides: list[str], config: Path | None) -> SettingsError:
    """Translate an error of Hydra or OmegaConf; unknown errors keep their message."""
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_choice(error)
    text = _chain(error)
    if missing := _MISSING.search(text):
        return SettingsError(
            missing.group(1), rule="must be given", instead=f"{missing.group(1)}=... (see --help for examples)"
        )
    if "override_grammar" in text or "Error parsing override" in text:
        words = _NOT_PARSED.search(text)
        return SettingsError(
            "command line",
            value=words.group(1) if words else None,
            rule="is not name=value in Hydra's grammar",
            instead="name=value; quote values with spaces, commas, brackets or '=' twice: \"name='a, b'\"",
        )
    if several := _AMBIGUOUS.search(text):
        instead = f"-m {several.group(1)} (one run for each value)"
        return SettingsError("command line", value=several.group(1), rule="has several values", instead=instead)
    name = _first(_COULD_NOT, text) or _first(_FULL_KEY, text)
    if name and (_NO_KEY.search(text) or _COULD_NOT.search(text)):
        return _unknown_key(name, overrides, config)
    rule = str(error).strip() or type(error).__name__
    return SettingsError("command line", rule=rule, instead="name=value (--help lists the settings)")


def _unknown_choice(error: MissingConfigException) -> SettingsError:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = [option for option in error.options or () if not option.startswith("_")]
    return SettingsError(
        group or "config", value=choice, rule="there is no such choice", instead=did_you_mean(choice, options)
    )


def _unknown_key(name: str, overrides: list[str], config: Path | None) -> SettingsError:
    name = name.split("@")[0]
    group = name.partition(".")[0]
    if group in _OPEN:
        rule = "is not in this group yet; adding an entry takes a plus sign"
        return SettingsError(name, rule=rule, instead=f"+{name if '.' in name else f'{group}.NAME.weight'}=...")
    known = _known_keys(overrides, config)
    section, _, leaf = name.rpartition(".")
    choices = _choices_that_have(name, config)
    if choices:
        rule = f"is not a setting of the selected {group}, only of {group}={','.join(choices)}"
        also = ", or another of these choices" if choices[1:] else ""
        return SettingsError(name, rule=rule, instead=f"{group}={choices[0]} {name}=...{also}")
    same = [key for key in known if key.rpartition(".")[2] == leaf]
    beside = [key for key in known if key.rpartition(".")[0] == section]
    near = (
        same
        or near_matches(name, [key for key in known if "." in key] if section else known)
        or _named_alike(leaf, known)
    )
    if near:
        instead = f"did you mean {' or '.join(near)}?"
    else:
        instead = f"one of: {', '.join(beside or [key for key in known if '.' not in key])}"
    return SettingsError(name, rule="there is no such setting", instead=instead)


def _named_alike(leaf: str, known: list[str]) -> list[str]:
    """Return the dotted names of the settings whose last part resembles `leaf`."""
    near = near_matches(leaf, {key.rpartition(".")[2] for key in known})
    return [key for last in near for key in known if key.rpartition(".")[2] == last]


def _choices_that_have(name: str, config: Path | None) -> list[str]:
    """Return the choices of the setting's group that have the setting."""
    group = name.partition(".")[0]
    if config is None or "." not in name or not (config.parent / group).is_dir():
        return []
    paths = sorted((config.parent / group).glob("[!_]*.yaml"))
    return [path.stem for path in paths if name in _known_keys([f"{group}={path.stem}"], config)]


def _known_keys(overrides: list[str], config: Path | None) -> list[str]:
    """Return the dotted names of all settings, with the chosen groups; `overrides` as typed."""
    if config is None:
        return []
    return sorted({*names(_chosen(overrides, config)), *_groups(config)})


def _groups(config: Path) -> set[str]:
    return {path.name for path in config.parent.iterdir() if path.is_dir()}


def _chosen(overrides: list[str], config: Path) -> Any:
    """Return the configuration with the chosen groups but without the typed values."""
    chosen = [one for one in overrides if one.partition("=")[0] in {*_groups(config), "hydra.searchpath"}]
    chosen += [f"hydra.searchpath=[file://{folder.resolve()}]" for folder in own_folders(overrides)]
    # The command's own Hydra instance may have more runs to do.
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config.parent.resolve()), version_base="1.3"):
            try:
                composed = compose(config.stem, overrides=chosen)
            except Exception:  # noqa: BLE001 - a second mistake among the choices must not hide the first
                composed = compose(config.stem)
    finally:
        GlobalHydra.instance().hydra = running
    return OmegaConf.to_container(composed)


def with_own_default(error: SettingsError, overrides: list[str], config: Path) -> SettingsError:
    """Return the error with the setting's default under the typed choices."""
    if error.default is NO_DEFAULT:
        return error
    own = dict(leaves(_chosen(overrides, config)))
    return error.with_default(own[error.setting]) if error.setting in own else error


def _chain(error: BaseException | None) -> str:
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(words)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group(1) if found else None
