"""Sections of the settings whose options depend on a name: each registered part validates its own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from ternlab.core.check import checked
from ternlab.core.errors import SettingsError
from ternlab.core.fields import Section
from ternlab.core.registry import Registry

S = TypeVar("S", bound=Section)


class HasSettings(Protocol):
    """A registry entry whose part has its own settings."""

    @property
    def settings(self) -> type[Section]:
        """The class that validates them; a subclass of the section's base class."""
        ...


E = TypeVar("E", bound=HasSettings)


def checked_by_name(
    registry: Registry[E], base: type[S], values: Mapping[str, Any] | S, prefix: str, by: str = "name"
) -> S:
    """Validate a section with the class registered by the part that its setting `by` names.

    An option that the part does not have is dropped if it is at the default of a part that has it. So you can select
    another part by name only (`model.name=alexnet`), and the frozen settings of earlier runs stay readable.

    Args:
        registry: registry of the parts.
        base: base class of all parts' settings.
        values: plain values, or a section (the base class is allowed too).
        prefix: name of the section, for messages; empty at the top level.
        by: the setting that names the part.

    Raises:
        SettingsError: there is no such part, it does not have an option, or a value is outside its range.
    """
    if isinstance(values, Section):
        if type(values) is registry.entry(getattr(values, by)).settings:
            return values
        values = values.model_dump()
    name = values.get(by, base.model_fields[by].default) if isinstance(values, Mapping) else None
    if not isinstance(name, str):
        return checked(base, values, prefix=prefix)
    section: Any = registry.entry(name).settings
    own = {key: value for key, value in values.items() if not _says_nothing(registry, section, key, value)}
    for key in own:
        having = _parts_with(registry, key)
        if having and key not in section.model_fields:
            others = [other for other in having if _accepts(registry[other].settings, key, own[key])]
            instead = ", or ".join(["leave it out", *(f"{prefix or by}={other}" for other in others)])
            setting = f"{prefix}.{key}" if prefix else key
            raise SettingsError(setting, value=own[key], rule=f"{name} has no such option", instead=instead)
    found: S = checked(section, own, prefix=prefix)
    return found


def option_defaults(registry: Registry[E], name: str | None) -> dict[str, Any]:
    """Return the default settings of all parts, as plain JSON values; where parts differ, those of `name`."""
    first = [registry[name]] if name is not None and name in registry else []
    defaults: dict[str, Any] = {}
    for entry in (*first, *registry.values()):
        defaults = {**entry.settings.model_construct().model_dump(mode="json", warnings=False), **defaults}
    return defaults


def _parts_with(registry: Registry[E], key: str) -> list[str]:
    return [name for name, entry in registry.items() if key in entry.settings.model_fields]


def _accepts(section: type[Section], key: str, value: Any) -> bool:
    field: Any = section.model_fields[key]
    try:
        TypeAdapter(Annotated[field.annotation, field]).validate_python(value)
    except ValidationError:
        return False
    return True


def _says_nothing(registry: Registry[E], section: type[Section], key: str, value: Any) -> bool:
    """Return whether an option belongs only to other parts and is at its default there."""
    if key in section.model_fields:
        return False
    fields = [registry[name].settings.model_fields[key] for name in _parts_with(registry, key)]
    plain = tuple(value) if isinstance(value, list) else value
    return any(plain == field.get_default(call_default_factory=True, validated_data={}) for field in fields)
