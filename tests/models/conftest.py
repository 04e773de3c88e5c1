"""Networks and files that several tests of the models share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random numbers and leaves the global generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def network() -> nn.Module:
    """A ResNet-20 in which no entry has its initial value, BatchNorm's included."""
    model = build_model(ModelSettings(name="resnet20"), channels=3, size=32, classes=10)
    randomize(model)
    return model


def randomize(model: nn.Module) -> None:
    """Give every entry of the state dict a value of its own; variances stay positive."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) * 0.2 + (0.9 if "running_var" in name else -0.1))
