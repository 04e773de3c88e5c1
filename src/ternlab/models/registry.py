"""Registry of the networks and their settings; does not import torch, so that typos are reported immediately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ternlab.core.by_name import checked_by_name
from ternlab.core.registry import Registry, checked_reference
from ternlab.models.alexnet import family as alexnet
from ternlab.models.entry import ModelEntry
from ternlab.models.resnet import family as resnet
from ternlab.models.resnet_cifar import family as resnet_cifar
from ternlab.models.settings import ModelSettings
from ternlab.models.stem import StemDropoutSettings

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
    """Register a network under `name`; for the arguments see `ModelEntry`.

    Without `settings`, the network accepts `model.stem` and `model.dropout`, whether or not it uses them.

    Raises:
        ValueError: the name is taken by another network, or `builder` or `adapter` has no colon.
    """
    if adapter is not None:
        checked_reference("adapter", adapter)
    MODELS.register(name, ModelEntry(checked_reference("builder", builder), settings, adapter, torchvision))


def model_settings(values: Mapping[str, Any] | ModelSettings) -> ModelSettings:
    """Validate `model.*` with the class that the network registered (see `checked_by_name`).

    Raises:
        SettingsError: unknown network, an option that it does not have, or a value outside its range.
    """
    return checked_by_name(MODELS, ModelSettings, values, "model")
