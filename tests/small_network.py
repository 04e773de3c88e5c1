"""A network with every kind of parameter group, and few parameters."""

from __future__ import annotations

import torch
from torch import nn


def small_network(*, bias: bool = True) -> nn.Sequential:
    """Return a network for images of 2x6x6 with three layers and two kinds of normalization.

    Args:
        bias: whether the convolution has one.
    """
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=bias),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 3),
    )
