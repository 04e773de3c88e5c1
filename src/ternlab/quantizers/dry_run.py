"""Runs a network once on an image of zeros, for observers, and leaves everything as it was."""

from __future__ import annotations

import contextlib
import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.core.errors import SettingsError

Observer = Callable[[nn.Module, dict[str, Any], Tensor], None]


def run_on_zeros(
    model: nn.Module,
    input_shape: Sequence[int],
    layers: Iterable[nn.Module],
    observe: Observer,
    within: contextlib.AbstractContextManager[Any] | None = None,
) -> None:
    """Run `model` once on an image of zeros, and call `observe` after each call of one of `layers`.

    The network runs in evaluation mode and without gradients, on its own device and in its own precision. Training
    modes, buffers and random generators are afterwards as they were.

    Args:
        model: any network that takes one tensor.
        input_shape: of one image without the batch, `(channels, height, width)`.
        layers: parts of the network.
        observe: gets the layer, its inputs by name (positional ones by the names in `forward`) and its output.
        within: entered for the time that the network runs.

    Raises:
        SettingsError: `input_shape` is not made of positive whole numbers, or the network cannot take it.
    """
    shape = _checked(input_shape)
    image = torch.zeros(1, *shape, **_kind_of_input(model))
    with _as_it_was(model), _observed(layers, observe), torch.no_grad():
        model.eval()
        try:
            with within or contextlib.nullcontext():
                model(image)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            rule = f"the network cannot process an image of this shape ({first})"
            raise SettingsError("input_shape", value=shape, rule=rule, instead=_instead(model)) from error


@contextlib.contextmanager
def _observed(layers: Iterable[nn.Module], observe: Observer) -> Iterator[None]:
    """Call `observe` after each call of a layer while the block runs."""

    def hook(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
        names = inspect.signature(layer.forward).parameters
        observe(layer, {**dict(zip(names, inputs, strict=False)), **named}, output)

    # torch's fused attention and encoder layers compute without calling their parts.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as hooks:
            for layer in layers:
                hooks.callback(layer.register_forward_hook(hook, with_kwargs=True).remove)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


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
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            sides = ("length", "height, width", "depth, height, width")[len(layer.kernel_size) - 1]
            return f"({layer.in_channels}, {sides}), the channels of the first convolution, without the batch"
        if isinstance(layer, nn.Linear):
            return f"({layer.in_features},), the inputs of the first linear layer, without the batch"
    return "the shape of one image without the batch"


def _kind_of_input(model: nn.Module) -> dict[str, Any]:
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return {"device": parameter.device, "dtype": parameter.dtype}
    return {}


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
