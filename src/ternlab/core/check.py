"""Turn plain values into a validated section, with errors that say what to type instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ternlab.core.errors import SettingsError, did_you_mean, near_matches
from ternlab.core.fields import Section

S = TypeVar("S", bound=Section)


def checked(section: type[S], values: Mapping[str, Any], *, prefix: str = "") -> S:
    """Build `section` from `values`.

    Args:
        section: the class to build.
        values: plain values, nested like the sections.
        prefix: dotted name of the section, for messages.

    Raises:
        SettingsError: an unknown key (near matches are listed), a wrong type, or a value outside its range.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise _settings_error(section, error, prefix) from None


def _settings_error(section: type[BaseModel], error: ValidationError, prefix: str) -> SettingsError:
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    name = ".".join(part for part in (prefix, *location) if part)
    holder = _section_at(section, location[:-1])
    key = location[-1] if location else ""
    if first["type"] == "extra_forbidden":
        known = list(holder.model_fields) if holder else []
        return SettingsError(name, rule="there is no such setting", instead=did_you_mean(key, known))
    if first["type"] == "model_type":
        return _group_given_a_value(section, location, name, first["input"])
    rule = first["msg"].removeprefix("Value error, ")
    value = None if isinstance(first["input"], dict) else first["input"]
    choice = _near_choice(first)
    instead, default = (f"{name}={choice}", None) if choice else ("", _default(holder, key))
    return SettingsError(name or "settings", value=value, rule=_plain(rule), instead=instead, default=default)


def _group_given_a_value(section: type[BaseModel], location: list[str], name: str, value: Any) -> SettingsError:
    inside = _section_at(section, location)
    settings = [f"{name}.{field}=..." for field in inside.model_fields] if inside else []
    return SettingsError(name, value=value, rule="is a group of settings", instead=" or ".join(settings))


def _plain(rule: str) -> str:
    rule = rule[:1].lower() + rule[1:]
    return rule.replace("input should be", "must be").replace("input should have", "must have")


def _near_choice(error: Any) -> str | None:
    """Return the choice closest to a wrong word, or the first choice."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return None
    choices = [part.strip("' ") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
    near = near_matches(error["input"], choices)
    return near[0] if near else choices[0]


def _default(holder: type[BaseModel] | None, key: str) -> Any:
    """Return the default of a setting that can be given as a single word; `None` for others."""
    field = holder.model_fields.get(key) if holder else None
    if field is None or field.is_required():
        return None
    default = field.get_default(call_default_factory=True, validated_data={})
    return None if isinstance(default, (BaseModel, tuple)) else default


def _section_at(section: type[BaseModel], location: list[str]) -> type[BaseModel] | None:
    """Follow `location` through nested sections; `None` if it leaves them (lists, unions)."""
    for part in location:
        field = section.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        section = field.annotation
    return section
