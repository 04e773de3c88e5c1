"""Building blocks of the settings: a strict base class and the marks that fields carry."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_OUTSIDE_IDENTITY = "outside_identity"


class Section(BaseModel):
    """A group of settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def free(default: Any, **constraints: Any) -> Any:
    """Declare a field that cannot change the result and so is left out of the run's identity."""
    return Field(default, json_schema_extra={_OUTSIDE_IDENTITY: True}, **constraints)


def free_fields(section: type[BaseModel]) -> set[str]:
    """Return the names of the fields of `section` that are outside the run's identity."""
    return {
        name
        for name, field in section.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(_OUTSIDE_IDENTITY)
    }


PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
