"""The optimizers by name, with their settings; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.core.by_name import checked_by_name
from ternlab.core.registry import Registry, checked_reference
from ternlab.optimizers.settings import OptimSettings
from ternlab.optimizers.torch_settings import AdamSettings, AdamWSettings, TorchOptimSettings

Groups = list[dict[str, Any]]
"""Groups of parameters as torch's optimizers take them: `params`, `name` and `weight_decay`."""


@dataclass(frozen=True)
class OptimizerEntry:
    """What the registry knows of an optimizer.

    Attributes:
        builder: `"package.module:function"` of `build(groups, settings) -> torch.optim.Optimizer`; `groups` hold the
            weight decay of each, and `settings.lr` is the learning rate at the start.
        settings: the class that checks `optim.*`, with the options of the optimizer.
    """

    builder: str
    settings: type[OptimSettings]

    def __str__(self) -> str:
        return self.builder


_TORCH = "ternlab.optimizers.torch_optimizers"
OPTIMIZERS: Registry[OptimizerEntry] = Registry(
    "optimizer",
    "optim.name",
    {
        "sgd": OptimizerEntry(f"{_TORCH}:sgd", TorchOptimSettings),
        "adam": OptimizerEntry(f"{_TORCH}:adam", AdamSettings),
        "adamw": OptimizerEntry(f"{_TORCH}:adamw", AdamWSettings),
    },
)


def register_optimizer(name: str, builder: str, *, settings: type[OptimSettings] = OptimSettings) -> None:
    """Add an optimizer under `name`; the arguments are those of `OptimizerEntry`.

    Raises:
        ValueError: the name is taken by another optimizer, or `builder` has no colon.
    """
    OPTIMIZERS.register(name, OptimizerEntry(checked_reference("builder", builder), settings))


def optim_settings(values: Mapping[str, Any] | OptimSettings) -> OptimSettings:
    """Check `optim.*` with the class that the optimizer registered (see `checked_by_name`).

    Raises:
        SettingsError: no such optimizer, an option that it does not have, or a value outside its range.
    """
    return checked_by_name(OPTIMIZERS, OptimSettings, values, "optim")
