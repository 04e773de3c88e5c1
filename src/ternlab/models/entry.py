"""The registry entry of a network."""

from __future__ import annotations

from dataclasses import dataclass

from ternlab.models.settings import ModelSettings


@dataclass(frozen=True)
class ModelEntry:
    """What the registry knows about a network; does not import torch.

    Attributes:
        builder: `"package.module:function"` of `build(settings, channels, size, classes) -> nn.Module`.
        settings: the class that validates `model.*`, with the options of the family.
        adapter: `"package.module:function"` of `adapt(state, network) -> state`, which converts the names and channel
            order of published checkpoints to those of the network; unknown states are returned unchanged.
        torchvision: whether torchvision has weights for a network of this name.
    """

    builder: str
    settings: type[ModelSettings]
    adapter: str | None = None
    torchvision: bool = False

    def __str__(self) -> str:
        return self.builder
