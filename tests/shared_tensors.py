"""A network that trains in milliseconds, whose state has tensors that share memory and an entry that is no tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ternlab.models.registry import register_model
from ternlab.models.stem import StemDropoutSettings

NAME = "shared_tensors"


class SharedTensors(nn.Module):
    """Two layers with one weight, a layer with two names, a buffer that is a view, and a count of batches.

    The count and the view change what it computes, so that losing either would be seen.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)
        self.head = self.fc
        self.register_buffer("table", torch.linspace(0.5, 1.5, 12))
        self.register_buffer("part", self.get_buffer("table")[2:10])
        self.batches = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        if self.training:
            self.batches += 1
            self.get_buffer("table").mul_(1.01)
        x = self.second(self.first(self.stem(images)).relu()).relu()
        x = self.norm(x).mean((2, 3)) * self.get_buffer("part") + 0.01 * self.batches
        logits: Tensor = self.head(x)
        return logits

    def get_extra_state(self) -> dict[str, Any]:
        """Return the count."""
        return {"batches": self.batches, "note": "counted"}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the count."""
        self.batches = state["batches"]


def build(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build the network."""
    return SharedTensors(channels, classes)


register_model(NAME, "tests.shared_tensors:build")
