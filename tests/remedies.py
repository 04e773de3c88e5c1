"""Reads what an error message tells a user to type, and types it."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from ternlab.core.dotted import find, put
from ternlab.core.errors import SettingsError

Config = dict[str, Any]
Check = Callable[[Config], object]

_ASSIGNMENT = re.compile(r"\+?[a-z_][\w.]*=")
_PARSED: dict[str, Any] = {}
_PARSER = OverridesParser.create()


class CannotBeTyped(Exception):
    """The remedy is in words for a human."""


def remedy_of(message: str) -> str:
    """Return the text after `instead:`, empty if there is none."""
    return message.partition("\n  instead: ")[2]


def alternatives(remedy: str) -> list[str]:
    """Return the alternatives that a remedy offers, without explanations in parentheses."""
    text = re.sub(r", with [A-Z]+ one of: .*", "", remedy)
    quoted = [(found.start(), found.end()) for found in re.finditer(r"'[^']*'", text)]
    cuts = [
        found
        for found in re.finditer(r",? or (?:another of )?| \([^()]*\)", text)
        if not any(start < found.start() < end for start, end in quoted)
    ]
    parts, begin = [], 0
    for cut in cuts:
        parts.append(text[begin : cut.start()])
        begin = cut.end()
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]


def typed_remedies(
    error: SettingsError, config: Config, base: Config, chosen: Callable[[str, str], Any]
) -> Iterator[Config]:
    """Yield the configuration after each of the remedies that the message of `error` offers.

    Args:
        error: the error.
        config: the configuration that was refused.
        base: the configuration without what was wrong.
        chosen: returns the settings of a choice of a group (`quant`, `tga`).

    Raises:
        CannotBeTyped: a remedy is not made of assignments.
    """
    message = str(error)
    remedy = remedy_of(message)
    names = re.match(r"did you mean (.*?)\?|one of: ([^;]*)", remedy)
    if names:
        for name in re.split(r" or |, ", names[1] or names[2]):
            yield _renamed(message, error.what, config, name, chosen)
        return
    for placeholder, choice in re.findall(r"with ([A-Z]+) one of: (\w+)", remedy):
        remedy = re.sub(rf"\b{placeholder}\b(?! one of)", choice, remedy)
    for alternative in alternatives(remedy):
        yield _assigned(alternative, error.what, config, base, chosen)


def is_choice(error: SettingsError) -> bool:
    """Return whether the message lists what there is; one of the choices must work."""
    return remedy_of(str(error)).startswith("one of: ")


def is_about_a_name(message: str) -> bool:
    """Return whether a name is wrong, not a value."""
    return any(words in message for words in ("no such setting", "no such option", "no such loss term"))


def _renamed(message: str, what: str, config: Config, name: str, chosen: Callable[[str, str], Any]) -> Config:
    """Return the configuration with `name` for the name or the value that was refused."""
    changed = copy.deepcopy(config)
    parent, _, key = what.rpartition(".")
    if "no such loss term" in message:
        parent, key = what, message.partition(" = ")[2].partition(":")[0]
    if is_about_a_name(message):
        section = find(changed, parent) if parent else changed
        section[name] = section.pop(key)
        return changed
    group = chosen(what.removesuffix(".name"), name)
    put(changed, what if group is None else what.removesuffix(".name"), name if group is None else group)
    return changed


def _assigned(alternative: str, what: str, config: Config, base: Config, chosen: Callable[[str, str], Any]) -> Config:
    if alternative in ("leave it out", "leave both out"):
        return copy.deepcopy(base)
    changed = copy.deepcopy(config)
    if alternative.startswith("{"):
        section, _, place = what.rpartition(".")
        find(changed, section)[int(place)] = yaml.safe_load(alternative)
        return changed
    words = shlex.split(alternative)
    if not words or not all(_ASSIGNMENT.match(word) for word in words):
        raise CannotBeTyped(alternative)
    for word in words:
        name, _, text = word.lstrip("+").partition("=")
        value = find(config, what) if text == "..." else _parsed(name, text)
        group = chosen(name, text) if isinstance(base.get(name), dict) and isinstance(value, str) else None
        try:
            put(changed, name, value if group is None else group)
        except ValueError:
            # A value that was typed for a whole group is replaced.
            head = name.partition(".")[0]
            changed[head] = copy.deepcopy(base[head])
            put(changed, name, value)
    return changed


def _parsed(name: str, text: str) -> Any:
    """Return the value that Hydra reads."""
    word = f"{name}={text}"
    if word not in _PARSED:
        (override,) = _PARSER.parse_overrides([word])
        _PARSED[word] = _plain(override.value())
    return copy.deepcopy(_PARSED[word])


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return getattr(value, "text", value)
