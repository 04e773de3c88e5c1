"""Settings of the training algorithm: its name and its own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny

from ternlab.algorithms.options import AlgorithmOptions, SupervisedOptions
from ternlab.algorithms.registry import DEFAULT, algorithm_entry
from ternlab.core.check import checked
from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.core.fields import Section


class AlgorithmSettings(Section):
    """How a network is trained.

    Attributes:
        name: a name registered in `ternlab.algorithms.registry`.
        options: the algorithm's own options; in the configuration they are next to the name.
    """

    name: str = DEFAULT
    options: SerializeAsAny[AlgorithmOptions] = Field(default_factory=SupervisedOptions)


def algorithm_settings(values: Any) -> AlgorithmSettings:
    """Validate the flat `algorithm` group of the configuration.

    Args:
        values: the name and the algorithm's options, at the same level.

    Raises:
        SettingsError: unknown algorithm, unknown option, or a value outside its range.
    """
    if not isinstance(values, Mapping):
        instead = f"algorithm={DEFAULT}"
        raise SettingsError("algorithm", value=values, rule="is a group of settings", instead=instead)
    name = str(values.get("name", DEFAULT))
    entry = algorithm_entry(name)
    options = {key: value for key, value in values.items() if key != "name"}
    known = {*entry.options.model_fields, "name"}
    for key in options:
        if key not in known:
            raise SettingsError(f"algorithm.{key}", rule=f"{name} has no such option", instead=did_you_mean(key, known))
    return AlgorithmSettings(name=name, options=checked(entry.options, options, prefix="algorithm"))


def algorithm_config(settings: AlgorithmSettings) -> dict[str, Any]:
    """Return the configuration from which `algorithm_settings` builds equal settings."""
    return {"name": settings.name, **settings.options.model_dump(mode="json")}
