"""Builds a run's network: architecture, initial weights, quantization."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.core.files import write_bytes
from ternlab.core.rng import batch_seed
from ternlab.models.build import build_model
from ternlab.models.state_file import read_state, state_bytes
from ternlab.models.versions import with_versions
from ternlab.models.weights import load_weights
from ternlab.quantizers.attach import attach, plan_of
from ternlab.quantizers.fitting import as_stored, fitting
from ternlab.quantizers.order import first_and_last
from ternlab.quantizers.plan import QuantPlan
from ternlab.settings.root import Settings


@dataclass(frozen=True)
class Shape:
    """What the data determine about a network: image channels, side of the square image, number of classes."""

    channels: int
    size: int
    classes: int


def build_network(
    settings: Settings, shape: Shape, start: Path | None, *, stored: Collection[str] | None = None
) -> nn.Module:
    """Return the network of a run before its first step.

    Args:
        settings: settings of the run.
        shape: the shape of the data.
        start: full-precision weights of the same network, as safetensors or a checkpoint; `None` for the model's
            own initialization, which is a function of the seed.
        stored: names in the state dict that will be loaded into the network, if any. They say which layers are
            quantized, where that depends on the first weights.

    Raises:
        SettingsError: `start` or `model.weights` does not fit the network.
    """
    torch.manual_seed(batch_seed(settings.seed))
    chosen = settings.model if start is None else settings.model.model_copy(update={"weights": None})
    model = build_model(chosen, channels=shape.channels, size=shape.size, classes=shape.classes)
    if start is not None:
        _load_start(model, start, settings)
    if settings.quant.active:
        # Thresholds are initialized from the current weights; a checkpoint overwrites them later.
        plan = _plan(model, settings, (shape.channels, shape.size, shape.size))
        attach(model, fitting(model, plan) if stored is None else as_stored(model, plan, stored))
    return model


def _plan(model: nn.Module, settings: Settings, input_shape: tuple[int, int, int]) -> QuantPlan:
    quant = settings.quant
    ends = first_and_last(model, input_shape) if quant.first_last == "full" else None
    return plan_of(model, quant.network_rule, quant, ends)


def _load_start(model: nn.Module, start: Path, settings: Settings) -> None:
    try:
        load_weights(model, str(start), name=settings.model.name)
    except SettingsError as error:
        setting = "quant.init_file" if settings.quant.init == "file" else "baseline.run"
        raise error.about(setting, instead_of="model.weights") from None


def check_layers(settings: Settings) -> None:
    """Raise SettingsError if the patterns of `quant` do not match the layers; uses no memory and reads no data.

    Layer names depend neither on the data nor on the stem, so any shape will do.
    """
    with torch.device("meta"):
        bare = settings.model.model_copy(update={"weights": None, "weights_skip": ()})
        _plan(build_model(bare, channels=3, size=224, classes=10), settings, (3, 224, 224))


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state of `model` (latent weights and thresholds included) to a safetensors file.

    Raises:
        SettingsError: an extra state of the network cannot be stored.
    """
    write_bytes(path, state_bytes(model.state_dict()))


def build_trained(settings: Settings, shape: Shape, path: Path) -> nn.Module:
    """Return the network of a run with the weights that `save_weights` saved.

    Raises:
        SettingsError: the file is missing, damaged, or of another network.
    """
    try:
        with safe_open(path, "pt") as file:
            stored = set(file.keys())
    except (OSError, SafetensorError):
        # Said by `load_trained`.
        stored = set()
    model = build_network(settings, shape, None, stored=stored)
    load_trained(model, path)
    return model


def load_trained(model: nn.Module, path: Path) -> None:
    """Load weights saved by `save_weights` into a network built by `build_network`.

    Raises:
        SettingsError: the file is missing, damaged, or of another network.
    """
    try:
        model.load_state_dict(with_versions(read_state(path), model))
    except (OSError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        raise SettingsError(
            "run",
            value=str(path),
            rule=f"does not hold the weights of this network ({error})",
            instead="re-run the command in its record with force=true to train it again",
        ) from error
