"""Building blocks of the settings: a strict base class and field markers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

_OUTSIDE_IDENTITY = "outside_identity"
_LEFT_OUT_AT = "left_out_at"


class Section(BaseModel):
    """A group of settings: immutable; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def free(default: Any, **constraints: Any) -> Any:
    """Declare a field that cannot change the result and is therefore not part of the run's identity."""
    return Field(default, json_schema_extra={_OUTSIDE_IDENTITY: True}, **constraints)


def free_section(section: type[Section]) -> Any:
    """Declare a group of settings, as `free`, whose defaults are read when they are needed, not at import."""
    return Field(default_factory=section, json_schema_extra={_OUTSIDE_IDENTITY: True})


def free_fields(section: type[BaseModel]) -> set[str]:
    """Return the names of the fields of `section` that are not part of the run's identity."""
    return {
        name
        for name, field in section.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(_OUTSIDE_IDENTITY)
    }


def changed_default(default: Any, *, left_out_at: Any, **constraints: Any) -> Any:
    """Declare a field whose default has changed, so that the IDs of earlier runs stay the same.

    Args:
        default: the current default.
        left_out_at: the original default; at this value the field is not part of the run's identity.
        constraints: as for pydantic's `Field`.
    """
    return Field(default, json_schema_extra={_LEFT_OUT_AT: left_out_at}, **constraints)


def identity_defaults(section: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of `section` that are part of the run's identity, with the value at which each is omitted."""
    free = free_fields(section)
    return {name: _left_out_at(field) for name, field in section.model_fields.items() if name not in free}


def changed_defaults(section: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of `section` that `changed_default` declares, with their original defaults."""
    return {
        name: field.json_schema_extra[_LEFT_OUT_AT]
        for name, field in section.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and _LEFT_OUT_AT in field.json_schema_extra
    }


def _left_out_at(field: FieldInfo) -> Any:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and _LEFT_OUT_AT in extra:
        return extra[_LEFT_OUT_AT]
    return field.get_default(call_default_factory=True, validated_data={})


PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
