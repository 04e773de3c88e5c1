"""Building a run's network: architecture, first weights, quantization."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from ternlab.errors import SettingsError
from ternlab.models.build import build_model
from ternlab.models.weights import load_weights
from ternlab.quantizers.attach import attach
from ternlab.runs.files import write_bytes
from ternlab.settings.root import Settings
from ternlab.training.module import batch_seed


@dataclass(frozen=True)
class Shape:
    """What the data decide of a network: image channels, side of the square image, number of classes."""

    channels: int
    size: int
    classes: int


def build_network(settings: Settings, shape: Shape, start: Path | None) -> nn.Module:
    """Return the network of a run before its first step.

    Args:
        settings: of the run.
        shape: from the data.
        start: full-precision weights of the same network, in safetensors or as a checkpoint; `None` for
            the model's own initialization, which is a function of the seed.

    Raises:
        SettingsError: `start` or `model.weights` does not fit the network.
    """
    torch.manual_seed(batch_seed(settings.seed))
    model = build_model(settings.model, channels=shape.channels, size=shape.size, classes=shape.classes)
    if start is not None:
        load_weights(model, str(start), name=settings.model.name)
    if settings.quant.active:
        # Thresholds start from the weights as they are now, once; a checkpoint brings its own.
        attach(model, settings.quant.name, settings.quant.rule, settings.quant)
    return model


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state of `model` (latent weights and thresholds included) to a safetensors file."""
    write_bytes(path, save({name: value.contiguous() for name, value in model.state_dict().items()}))


def load_trained(model: nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote into a network built by `build_network`.

    Raises:
        SettingsError: the file is missing, torn, or of another network.
    """
    try:
        model.load_state_dict(load_file(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError("run", value=str(path), rule=f"is not the weights of this network ({error})") from error
