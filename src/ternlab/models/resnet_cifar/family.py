"""Registry entries and settings of the residual networks for CIFAR; does not import torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ternlab.core.errors import Conflict
from ternlab.models.entry import ModelEntry
from ternlab.models.stem import StemSettings

STAGE_CHANNELS = (16, 32, 64)
"""Published channels of the three stages."""

Shortcut = Literal["zeros_after", "zeros_around"]


class CifarResNetSettings(StemSettings):
    """Settings of the residual networks for CIFAR.

    Attributes:
        stem: there is only one stem, for small images: `auto` and `small` give the same network.
        width: channels of every stage as a multiple of the published 16, 32 and 64; rounded, at least one.
        shortcut: where the zeros for new channels are added: after the existing ones, as in the ternary reference code,
            or half before and half after them, as in akamaster/pytorch_resnet_cifar10. Weights of both programs can be
            loaded into either; only the matching one keeps the order of the channels in the file.
    """

    shortcut: Shortcut = "zeros_after"
    width: float = Field(1.0, gt=0, le=64)

    @model_validator(mode="after")
    def _has_one_stem(self) -> Self:
        if self.stem == "imagenet":
            raise Conflict(f"{self.name} has no imagenet stem (model=resnet18 has one)", {"stem": "auto"})
        return self

    @property
    def stage_channels(self) -> tuple[int, int, int]:
        """Channels of the three stages."""
        first, second, third = (max(1, round(self.width * channels)) for channels in STAGE_CHANNELS)
        return first, second, third


_ENTRY = ModelEntry(
    "ternlab.models.resnet_cifar.network:build",
    CifarResNetSettings,
    adapter="ternlab.models.resnet_cifar.published:adapt",
)
NETWORKS = {f"resnet{depth}": _ENTRY for depth in (20, 32, 44, 56, 110)}
