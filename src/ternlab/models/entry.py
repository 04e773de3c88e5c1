"""What a registered network is."""

from __future__ import annotations

from dataclasses import dataclass

from ternlab.models.settings import ModelSettings


@dataclass(frozen=True)
class ModelEntry:
    """What the registry knows of a network; free of torch.

    Attributes:
        builder: `"package.module:function"` of `build(settings, channels, size, classes) -> nn.Module`.
        settings: the class that checks `model.*`, with the options of the family.
        adapter: `"package.module:function"` of `adapt(state, network) -> state`, which translates names and order of
            published checkpoints into those of the network; a state that it does not know it returns as it is.
        torchvision: whether torchvision has weights for a network of this name.
    """

    builder: str
    settings: type[ModelSettings]
    adapter: str | None = None
    torchvision: bool = False

    def __str__(self) -> str:
        return self.builder
