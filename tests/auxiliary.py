"""Networks that return more than logits, and use their parameters in some steps only."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ternlab.models.registry import register_model
from ternlab.models.stem import StemDropoutSettings


class Auxiliary(nn.Module):
    """Has an auxiliary head in training, as GoogLeNet and Inception have; BatchNorm after global pooling.

    Args:
        channels: of the images.
        classes: of the logits.
        output: `tuple`, `dict` or `tensor`.
        changing: whether the head takes part in the second, fourth, ... step.
    """

    def __init__(self, channels: int, classes: int, output: str, *, changing: bool = False) -> None:
        super().__init__()
        self.output, self.changing, self.steps = output, changing, 0
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, classes)
        self.auxiliary = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Any:
        """Return logits, with those of the auxiliary head."""
        features = self.norm(self.body(images))
        logits, more = self.head(features), self.auxiliary(features)
        if self.training:
            self.steps += 1
        if self.changing and self.steps % 2 == 1:
            logits = logits + more
        if self.output == "tuple":
            return logits, more
        return {"auxiliary": more, "logits": logits} if self.output == "dict" else logits


def build_tuple(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build a network that returns a tuple."""
    return Auxiliary(channels, classes, "tuple")


def build_dict(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build a network that returns a dictionary."""
    return Auxiliary(channels, classes, "dict")


def build_tensor(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build a network that returns a tensor."""
    return Auxiliary(channels, classes, "tensor")


def build_changing(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build a network that uses its auxiliary head in every second step."""
    return Auxiliary(channels, classes, "tensor", changing=True)


for _name in ("tuple", "dict", "tensor", "changing"):
    register_model(f"auxiliary_{_name}", f"tests.auxiliary:build_{_name}")
