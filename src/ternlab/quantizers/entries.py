"""Validates the entries of `quant.layers`; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ternlab.core.dotted import nested
from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.quantizers.plan import FULL_PRECISION, LayerEntry, LayerRule
from ternlab.quantizers.registry import RULES, rule_entry, rule_options

_SETTING = "quant.layers"
_EXAMPLE = "{match: fc, name: uniform, bits: 4}"


def layer_entries(typed: Any, rule: LayerRule) -> tuple[LayerEntry, ...]:
    """Validate a list of entries: `{match: PATTERN, name: RULE, ...}` with the rule's options next to its name.

    Args:
        typed: the entries. An entry without `name` has the network's rule and options, which its own options override.
        rule: the network's rule.

    Raises:
        SettingsError: no such rule or option, a value outside its range, or two entries with the same pattern.
    """
    if isinstance(typed, str | Mapping) or not isinstance(typed, Iterable):
        raise SettingsError(
            _SETTING, value=typed, rule="must be a list of entries", instead=f"'quant.layers=[{_EXAMPLE}]'"
        )
    entries = tuple(_entry(values, f"{_SETTING}.{place}", rule) for place, values in enumerate(typed))
    first: dict[str, int] = {}
    for place, entry in enumerate(entries):
        before = first.setdefault(entry.match, place)
        if before != place:
            raise SettingsError(
                f"{_SETTING}.{place}.match",
                value=entry.match,
                rule=f"is already the pattern of {_SETTING}.{before}, and the first match counts",
                instead="keep one of the two",
            )
    return entries


def entries_of_mapping(rules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a mapping from patterns to rules as a list of entries.

    Args:
        rules: mapping from patterns, where the first match counts, to a rule's name, a mapping of `name` and options,
            or `None` for full precision.

    Raises:
        SettingsError: a rule has another type.
    """
    return [{"match": pattern, **_named(pattern, rule)} for pattern, rule in rules.items()]


def _named(pattern: str, rule: Any) -> Mapping[str, Any]:
    if isinstance(rule, Mapping):
        return rule
    if rule is None or isinstance(rule, str):
        return {"name": rule}
    raise SettingsError(
        pattern,
        value=rule,
        rule="must be a rule's name, a mapping of its name and options, or None for full precision",
        instead="{'name': 'uniform', 'bits': 4}",
    )


def _entry(typed: Any, setting: str, rule: LayerRule) -> LayerEntry:
    if not isinstance(typed, Mapping):
        raise SettingsError(setting, value=typed, rule="is not an entry with a pattern and a rule", instead=_EXAMPLE)
    values = nested({str(key): value for key, value in typed.items()})
    match = _pattern(values.pop("match", None), setting)
    if "name" in values:
        name = values.pop("name")
        name = FULL_PRECISION if name is None else str(name)
    elif rule.active:
        name, values = rule.name, _merged(rule.options.model_dump(), values)
    else:
        raise SettingsError(f"{setting}.name", rule="is missing", instead=f"{{match: {match}, name: RULE}}, {_rules()}")
    if name == FULL_PRECISION:
        for key in values:
            rule_of_it = "full precision (name: none) has no options"
            raise SettingsError(f"{setting}.{key}", rule=rule_of_it, instead=f"name: RULE, {_rules()}")
        return LayerEntry(match=match, name=name)
    return LayerEntry(match=match, name=name, options=_options(name, values, setting))


def _pattern(match: Any, setting: str) -> str:
    if isinstance(match, int) and not isinstance(match, bool):
        # The layers of a Sequential are named 0, 1, 2.
        return str(match)
    if not isinstance(match, str):
        rule = "is missing" if match is None else "must be the name of a layer, or a pattern of names"
        instead = _EXAMPLE if match is None else f"match: '{match}'"
        raise SettingsError(f"{setting}.match", value=match, rule=rule, instead=instead)
    return match


def _options(name: str, values: dict[str, Any], setting: str) -> Any:
    known = rule_entry(name, f"{setting}.name").options.model_fields
    for key in values:
        if key not in known:
            instead = did_you_mean(key, known)
            raise SettingsError(f"{setting}.{key}", rule=f"{name} has no such option", instead=instead)
    try:
        return rule_options(name, values, setting)
    except SettingsError as error:
        raise _in_an_entry(error, setting) from None


def _in_an_entry(error: SettingsError, setting: str) -> SettingsError:
    """Return the error with its advice in the form of an entry: `bits: 8`, not `quant.layers.0.bits=8`."""
    message, found, remedy = str(error).partition("\n  instead: ")
    if f"{setting}." in remedy:
        remedy = remedy.replace(f"{setting}.", "").replace("=", ": ")
    error.args = (message + found + remedy,)
    return error


def _merged(options: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(options)
    for key, value in own.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = _merged(before, value)
        merged[key] = value
    return merged


def _rules() -> str:
    return f"with RULE one of: {', '.join(sorted(RULES))}"
