"""Weight initialization, drawn from torch's global generator (seed it first)."""

from __future__ import annotations

from torch import nn


def he_convolution(layer: nn.Conv2d) -> None:
    """Draw a convolution's weight from N(0, 2 / (kernel area * output channels)) and set its bias to 0.

    He et al. 2015, "Delving Deep into Rectifiers", section 2.2, backward case ("fan out"), as in torchvision's residual
    networks and in the authors' CIFAR networks.
    """
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def he_initialize(model: nn.Module) -> None:
    """Initialize every convolution (fan out), linear layer (fan in, bias 0) and BatchNorm (1 and 0)."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            he_convolution(layer)
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
