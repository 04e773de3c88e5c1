"""A small network that knows the digits, trained in a second, and the test images of the digits.

It is trained in float64: what CPUs round differently in float32 moves a weight over a threshold, and a few steps later
it is another network, which knows half or nearly all of the digits.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.data.module import ImageDataModule, build_data
from ternlab.data.settings import DataSettings
from ternlab.models.stem import StemDropoutSettings
from ternlab.quantizers.attach import quantize
from tests.tiny import build

SHAPE = (1, 8, 8)


@functools.cache
def digits() -> ImageDataModule:
    """Return the digits, set up."""
    data = build_data(DataSettings(batch_size=64), data_dir=Path(), seed=0)
    data.setup()
    return data


def all_images() -> tuple[Tensor, Tensor]:
    """Return all normalised test images and their labels."""
    images, labels = zip(*digits().test_dataloader(), strict=True)
    return torch.cat(images), torch.cat(labels)


def trained(rule: str | None, steps: int = 80, **options: Any) -> nn.Module:
    """Return the network, quantized by `rule` (`None`: in full precision) and trained for a few steps more."""
    model = copy.deepcopy(_in_full_precision())
    if rule is not None:
        _train(quantize(model, rule, **options), steps)
    return model.float().eval()


@functools.cache
def _in_full_precision() -> nn.Module:
    torch.manual_seed(0)
    model = build(StemDropoutSettings(name="tiny"), 1, 8, 10).double()
    _train(model, 120)
    return model


def _train(model: nn.Module, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    batches = [batch for _ in range(-(-steps // 20)) for batch in digits().train_dataloader()]
    for images, labels in batches[:steps]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images.double()), labels).backward()
        optimizer.step()
