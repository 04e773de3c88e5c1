"""Turn plain values into a validated section, with errors that say what to type instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ternlab.core.errors import Conflict, SettingsError, did_you_mean, near_matches
from ternlab.core.fields import Section
from ternlab.core.typed import assignment, typed

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
    errors = error.errors(include_url=False)
    first = errors[0]
    place = _Place.of(section, prefix, first["loc"])
    if first["type"] == "extra_forbidden":
        known = place.section.model_fields if place.section else {}
        names = [field.alias or name for name, field in known.items()]
        return SettingsError(place.name, rule="there is no such setting", instead=did_you_mean(place.key, names))
    value = None if isinstance(first["input"], dict) else first["input"]
    if first["type"] == "model_type" and place.section is not None:
        instead = _in_the_group(place.section, place.name, value)
        return SettingsError(place.name, value=value, rule="is a group of settings", instead=instead)
    conflict = first.get("ctx", {}).get("error")
    if isinstance(conflict, Conflict) and conflict.instead:
        name = place.name or ", ".join(conflict.instead[0])
        return SettingsError(name, value=value, rule=str(conflict), instead=conflict.typed(place.setting))
    # A union has an error for each of its types.
    rule = ", or ".join(dict.fromkeys(_rule(one) for one in errors if one["input"] is first["input"]))
    if place.field is None:
        instead = f"other values of {place.setting}.*" if place.setting else "other values"
        return SettingsError(place.name or "settings", value=value, rule=rule, instead=instead)
    return _with_proposal(place, first, value, rule)


@dataclass(frozen=True)
class _Place:
    """Where an error is.

    Attributes:
        name: dotted name of the setting or section, with the number of the element for an element of a list.
        setting: dotted name of the setting or section.
        key: its last part.
        section: the class of the section, or the one that holds the setting or an unknown key.
        field: the setting (`None`: the error is about a section or an unknown key).
    """

    name: str
    setting: str
    key: str
    section: type[BaseModel] | None
    field: FieldInfo | None

    @classmethod
    def of(cls, section: type[BaseModel], prefix: str, location: tuple[int | str, ...]) -> _Place:
        """Follow the location of a pydantic error, which also names the types of a union, through nested sections."""
        path, field, key = [prefix] if prefix else [], None, ""
        for depth, part in enumerate(location):
            key = str(part)
            path.append(key)
            field = _field(section, key)
            inside = field.annotation if field else None
            if not (isinstance(inside, type) and issubclass(inside, BaseModel)):
                setting = ".".join(path)
                further = location[depth + 1 :]
                keyed = get_origin(inside) is dict
                elements = [str(one) for at, one in enumerate(further) if isinstance(one, int) or (keyed and not at)]
                return cls(".".join([setting, *elements]), setting, key, section, field)
            section = inside
        return cls(".".join(path), ".".join(path), key, section, None)


def _field(section: type[BaseModel], key: str) -> FieldInfo | None:
    return next((field for name, field in section.model_fields.items() if key == (field.alias or name)), None)


def _with_proposal(place: _Place, error: Any, value: Any, rule: str) -> SettingsError:
    """Return the error with what to type: the choice meant, the default, or an example."""
    field = place.field
    assert field is not None
    choice = _near_choice(error)
    if choice is not None:
        return SettingsError(place.name, value=value, rule=rule, instead=assignment(place.setting, choice))
    if field.is_required():
        example = (field.examples or ["..."])[0]
        return SettingsError(place.name, value=value, rule=rule, instead=f"{place.setting}={example}")
    default = _plain_value(field.get_default(call_default_factory=True, validated_data={}))
    return SettingsError(place.name, value=value, rule=rule, default=default, setting=place.setting)


def _in_the_group(section: type[BaseModel], name: str, value: Any) -> str:
    """Return the setting of a group that was meant by giving the group a value; else its first one, with the others."""
    fields = {field.alias or key: field for key, field in section.model_fields.items()}
    for key in fields:
        if isinstance(value, str) and _takes(section, key, value):
            return assignment(f"{name}.{key}", value)
    first = next(iter(fields))
    default = fields[first].get_default(call_default_factory=True, validated_data={})
    shown = "..." if fields[first].is_required() else typed(_plain_value(default))
    return f"{name}.{first}={shown} (the settings of this group: {', '.join(fields)})"


def _takes(section: type[BaseModel], key: str, value: str) -> bool:
    """Return whether the setting has choices, and the value is one of them."""
    if get_origin(section.model_fields[key].annotation if key in section.model_fields else None) is not Literal:
        return False
    try:
        section.model_validate({key: value})
    except (ValidationError, SettingsError):
        return False
    return True


def _rule(error: Any) -> str:
    if error["type"] == "missing":
        return "has too few values" if any(isinstance(one, int) for one in error["loc"]) else "must be given"
    rule = str(error["msg"]).removeprefix("Value error, ")
    rule = rule[:1].lower() + rule[1:]
    return rule.replace("input should be", "must be").replace("input should have", "must have")


def _near_choice(error: Any) -> str | None:
    """Return the choice closest to a wrong word; `None` if there is none."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return None
    choices = [part.strip("' ") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
    return next(iter(near_matches(error["input"], choices)), None)


def _plain_value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    return [_plain_value(one) for one in value] if isinstance(value, tuple) else value
