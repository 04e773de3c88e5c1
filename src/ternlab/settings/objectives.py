"""Settings of loss terms that are added to the algorithm's own terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny

from ternlab.core.check import checked
from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.core.fields import NonNegativeFloat, Section
from ternlab.objectives.registry import TERMS, TermOptions, term_entry


class TermSettings(Section):
    """A loss term that is added to the algorithm's loss.

    Attributes:
        name: a name registered in `ternlab.objectives.registry`.
        weight: its factor in the sum; a term of weight 0 is not computed.
        options: the term's own options; in the configuration they are next to the weight (`objectives.NAME.OPTION`).
    """

    name: str
    weight: NonNegativeFloat = 1.0
    options: SerializeAsAny[TermOptions] = Field(default_factory=TermOptions)


def objectives_settings(values: Any) -> tuple[TermSettings, ...]:
    """Validate the `objectives` of the configuration.

    Args:
        values: weight and options of each term by its name.

    Returns:
        the terms, sorted by name.

    Raises:
        SettingsError: unknown term, unknown option, or a value outside its range.
    """
    if not isinstance(values, Mapping):
        instead = f"+objectives.NAME.weight=0.1, with NAME one of: {', '.join(sorted(TERMS))}"
        raise SettingsError("objectives", value=values, rule="must be a group of loss terms", instead=instead)
    return tuple(_term(name, values[name]) for name in sorted(values))


def _term(name: str, values: Any) -> TermSettings:
    prefix = f"objectives.{name}"
    entry = term_entry(name)
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        number = isinstance(values, int | float) and 0 <= values < math.inf
        instead = f"+{prefix}.weight={float(values) if number else 1.0}"
        raise SettingsError(prefix, value=values, rule="must be a group of settings", instead=instead)
    known = {*entry.options.model_fields, "weight"}
    for key in values:
        if key not in known:
            raise SettingsError(f"{prefix}.{key}", rule=f"{name} has no such option", instead=did_you_mean(key, known))
    options = checked(entry.options, {key: value for key, value in values.items() if key != "weight"}, prefix=prefix)
    weight = {"weight": values["weight"]} if "weight" in values else {}
    return checked(TermSettings, {"name": name, **weight}, prefix=prefix).model_copy(update={"options": options})


def objectives_config(terms: tuple[TermSettings, ...]) -> dict[str, Any]:
    """Return the configuration from which `objectives_settings` builds equal settings."""
    return {one.name: {"weight": one.weight, **one.options.model_dump(mode="json")} for one in terms}
