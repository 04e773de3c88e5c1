"""Settings of the network."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import field_validator, model_validator

from ternlab.core.fields import Fraction, Section
from ternlab.errors import did_you_mean
from ternlab.models.registry import MODELS

_CIFAR_ONLY = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
_NO_DROPOUT = (*_CIFAR_ONLY, "resnet18", "resnet34", "resnet50", "resnet101")


class ModelSettings(Section):
    """Which network, and where its first weights come from.

    Attributes:
        name: a name registered in `ternlab.models.registry`.
        stem: the first layers of the ImageNet networks. `imagenet` is the published one (stride 2 and
            pooling); `small` keeps the resolution of small images; `auto` takes `small` up to 64 pixels.
        weights: `None` (initialized from the seed), `torchvision` (its ImageNet weights), or a file.
        weights_skip: name patterns (`fc.*`) of entries of `weights` that are not loaded.
        dropout: probability of the dropout layers of AlexNet; the other networks have none.
    """

    name: str = "resnet20"
    stem: Literal["auto", "small", "imagenet"] = "auto"
    weights: str | None = None
    weights_skip: tuple[str, ...] = ()
    dropout: Fraction = 0.0

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in MODELS:
            raise ValueError(f"no such model; {did_you_mean(name, MODELS)}")
        return name

    @model_validator(mode="after")
    def _fits_the_network(self) -> Self:
        """Refuse what the network would ignore: two runs would differ in name and not in result."""
        if self.dropout and self.name in _NO_DROPOUT:
            raise ValueError(f"{self.name} has no dropout layers; leave model.dropout out, or take model=alexnet")
        if self.stem == "imagenet" and self.name in _CIFAR_ONLY:
            raise ValueError(f"{self.name} has no imagenet stem; leave model.stem out, or take model=resnet18")
        return self
