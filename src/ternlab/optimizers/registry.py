"""Registry of the optimizers and their settings; does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.core.by_name import checked_by_name
from ternlab.core.registry import Registry, checked_reference
from ternlab.optimizers.settings import OptimSettings
from ternlab.optimizers.torch_settings import AdamSettings, AdamWSettings, TorchOptimSettings

Groups = list[dict[str, Any]]
"""Parameter groups for torch optimizers: `params`, `name` and `weight_decay`."""


@dataclass(frozen=True)
class OptimizerEntry:
    """What the registry knows about an optimizer.

    Attributes:
        builder: `"package.module:function"` of `build(groups, settings) -> torch.optim.Optimizer`; each of `groups`
            has its weight decay, and `settings.lr` is the initial learning rate.
        settings: the class that validates `optim.*`, with the options of the optimizer.
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
    """Register an optimizer under `name`; for the arguments see `OptimizerEntry`.

    Raises:
        ValueError: the name is taken by another optimizer, or `builder` has no colon.
    """
    OPTIMIZERS.register(name, OptimizerEntry(checked_reference("builder", builder), settings))


def optim_settings(values: Mapping[str, Any] | OptimSettings) -> OptimSettings:
    """Validate `optim.*` with the class that the optimizer registered (see `checked_by_name`).

    Raises:
        SettingsError: unknown optimizer, an option that it does not have, or a value outside its range.
    """
    return checked_by_name(OPTIMIZERS, OptimSettings, values, "optim")
