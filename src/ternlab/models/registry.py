"""The networks by name, with their settings; free of torch, so that a typo is answered at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ternlab.errors import SettingsError
from ternlab.models.alexnet import family as alexnet
from ternlab.models.entry import ModelEntry
from ternlab.models.resnet import family as resnet
from ternlab.models.resnet_cifar import family as resnet_cifar
from ternlab.models.stem import StemDropoutSettings
from ternlab.registry import Registry, checked_reference
from ternlab.settings.check import checked
from ternlab.settings.model import ModelSettings

MODELS: Registry[ModelEntry] = Registry(
    "network", "model.name", {**resnet_cifar.NETWORKS, **resnet.NETWORKS, **alexnet.NETWORKS}
)


def register_model(
    name: str,
    builder: str,
    *,
    settings: type[ModelSettings] = StemDropoutSettings,
    adapter: str | None = None,
    torchvision: bool = False,
) -> None:
    """Add a network under `name`; the arguments are those of `ModelEntry`.

    Without `settings` the network takes `model.stem` and `model.dropout`, used or not.

    Raises:
        ValueError: the name is taken by another network, or `builder` or `adapter` has no colon.
    """
    if adapter is not None:
        checked_reference("adapter", adapter)
    MODELS.register(name, ModelEntry(checked_reference("builder", builder), settings, adapter, torchvision))


def model_settings(values: Mapping[str, Any] | ModelSettings) -> ModelSettings:
    """Check `model.*` with the class that the network registered.

    An option that the network does not have is left out when it is at the default of a network that has it: another
    network may be chosen by its name alone (`model.name=alexnet`), and what runs have frozen stays readable.

    Args:
        values: plain values, or settings, also of the base class.

    Raises:
        SettingsError: no such network, an option that it does not have, or a value outside its range.
    """
    if isinstance(values, ModelSettings):
        if type(values) is MODELS.entry(values.name).settings:
            return values
        values = values.model_dump()
    name = values.get("name", ModelSettings.model_fields["name"].default)
    if not isinstance(name, str):
        return checked(ModelSettings, values, prefix="model")
    section = MODELS.entry(name).settings
    own = {key: value for key, value in values.items() if not _says_nothing(section, key, value)}
    for key in own:
        having = _networks_with(key)
        if having and key not in section.model_fields:
            instead = f"leave it out, or take model={' or model='.join(having)}"
            raise SettingsError(f"model.{key}", value=own[key], rule=f"{name} has no such option", instead=instead)
    return checked(section, own, prefix="model")


def _networks_with(key: str) -> list[str]:
    return [name for name, entry in MODELS.items() if key in entry.settings.model_fields]


def _says_nothing(section: type[ModelSettings], key: str, value: Any) -> bool:
    """Return whether an option belongs to other networks and is at its default there."""
    defaults = [MODELS[name].settings.model_fields[key].default for name in _networks_with(key)]
    return key not in section.model_fields and value in defaults


def option_defaults(name: str | None) -> dict[str, Any]:
    """Return the defaults of the settings of all networks, as plain JSON values; where they differ, those of `name`."""
    first = [MODELS[name]] if name in MODELS else []
    defaults: dict[str, Any] = {}
    for entry in (*first, *MODELS.values()):
        defaults = {**entry.settings.model_construct().model_dump(mode="json", warnings=False), **defaults}
    return defaults
