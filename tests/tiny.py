"""A network that trains in milliseconds and has everything a resume must restore: BatchNorm and dropout."""

from __future__ import annotations

import os
import time

from torch import Tensor, nn

from ternlab.models.registry import register_model
from ternlab.models.stem import StemDropoutSettings

NAME = "tiny"


class Wait(nn.Module):
    """Takes `TINY_SECONDS` for each batch, so that a test can send a signal in the midst of training."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the images."""
        time.sleep(float(os.environ.get("TINY_SECONDS", "0")))
        return images


def build(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build two convolutions with BatchNorm, dropout and a linear layer."""
    return nn.Sequential(
        Wait(),
        nn.Conv2d(channels, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(settings.dropout),
        nn.Linear(32, classes),
    )


register_model(NAME, "tests.tiny:build")
