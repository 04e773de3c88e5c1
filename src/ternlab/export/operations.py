"""Counts what a network computes for one image, observed with hooks while it runs."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.core.errors import SettingsError


@dataclass(frozen=True)
class Use:
    """How a layer was used for one image.

    Attributes:
        calls: how often; more than once for a layer that is used in several places.
        outputs: numbers that it computed, over all calls.
    """

    calls: int = 0
    outputs: int = 0


def uses(model: nn.Module, layers: Mapping[str, nn.Module], input_shape: Sequence[int]) -> dict[str, Use]:
    """Run `model` once on an image of zeros and return the use of each of `layers`, by name.

    The network runs in evaluation mode and without gradients, on its own device and in its own precision. Training
    modes, buffers and random generators are afterwards as they were.

    Args:
        model: any network that takes one tensor.
        layers: parts of it by name. A layer that is not called as a module (the output projection inside
            `nn.MultiheadAttention`) has no calls.
        input_shape: of one image without the batch, `(channels, height, width)`.

    Raises:
        SettingsError: `input_shape` is not made of positive whole numbers, or the network cannot take it.
    """
    shape = _checked(input_shape)
    found = {name: Use() for name in layers}
    image = torch.zeros(1, *shape, **_kind_of_input(model))
    with _as_it_was(model), _watched(layers, found), torch.no_grad():
        model.eval()
        try:
            model(image)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            rule = f"the network cannot process an image of this shape ({first})"
            raise SettingsError("input_shape", value=shape, rule=rule, instead=_instead(model)) from error
    return found


def _checked(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sides = tuple(operator.index(side) for side in shape)
    except TypeError:
        sides = ()
    if not sides or min(sides) < 1:
        rule = "must be the shape of one image without the batch dimension, in positive integers"
        raise SettingsError("input_shape", value=shape, rule=rule, instead="(3, 224, 224)")
    return sides


def _instead(model: nn.Module) -> str:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            return f"({layer.in_channels}, height, width), the channels of the first convolution, without the batch"
        if isinstance(layer, nn.Linear):
            return f"({layer.in_features},), the inputs of the first linear layer, without the batch"
    return "the shape of one image without the batch"


def _kind_of_input(model: nn.Module) -> dict[str, Any]:
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return {"device": parameter.device, "dtype": parameter.dtype}
    return {}


@contextlib.contextmanager
def _watched(layers: Mapping[str, nn.Module], found: dict[str, Use]) -> Iterator[None]:
    """Add up the calls of `layers` in `found` while the block runs."""

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            found[name] = Use(found[name].calls + 1, found[name].outputs + output.numel())

        return hook

    with contextlib.ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(watch(name)).remove)
        yield


@contextlib.contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Put training modes, buffers and random generators back when the block ends."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for module, name, buffer, values in buffers:
            buffer.copy_(values)
            module._buffers[name] = buffer
