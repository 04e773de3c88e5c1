"""Every rule trains under plain SGD over `model.parameters()`, from trained weights, with and without BatchNorm."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers
from ternlab.quantizers.registry import RULES as ALL_RULES

# `given` fits only weights that are ternary already.
RULES = [name for name in ALL_RULES if name != "given"]


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32).unsqueeze(1) / 16
    return (images - images.mean()) / images.std(), torch.tensor(found.target)


def fresh(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "without BatchNorm":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def train(model: nn.Module, lr: float, steps: int) -> list[float]:
    """Take `steps` steps of plain SGD; return the losses before each."""
    images, labels = digits()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        batch = torch.randint(len(labels), (64,), generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@functools.cache
def trained(kind: str) -> nn.Module:
    model = fresh(kind)
    train(model, 0.05, 150)
    return model


@pytest.mark.parametrize("kind", ["with BatchNorm", "without BatchNorm"])
@pytest.mark.parametrize("lr", [0.01, 0.1])
@pytest.mark.parametrize("rule", RULES)
def test_plain_sgd_neither_kills_layers_nor_blows_up(rule: str, lr: float, kind: str) -> None:
    model = quantize(copy.deepcopy(trained(kind)), rule)
    losses = train(model, lr, 50)
    assert max(losses) < 5, "the loss blows up"
    # Chance is 2.3.
    assert sum(losses[-5:]) / 5 < 0.7
    for name, layer in quantized_layers(model):
        assert codes(layer).zeros() / latent_weight(layer).numel() < 0.95, name
