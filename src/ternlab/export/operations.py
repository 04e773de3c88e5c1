"""Counts what a network computes with its weights for one image, observed while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ternlab.quantizers.dry_run import run_on_zeros
from ternlab.quantizers.filters import TRANSPOSED
from ternlab.quantizers.weights import QUANTIZABLE, LayerWeight


@dataclass(frozen=True)
class Use:
    """How a weight was used for one image.

    Attributes:
        calls: number of calls; more than one for a layer that is used in several places.
        outputs: number of outputs computed with it, over all calls.
        macs: multiply-accumulates, over all calls; `None` if unknown, because the weight was not used by a call of its
            layer.
        positions: how often each element of the weight was multiplied; `None` if unknown, or not equally often
            (attention between sequences of different lengths).
    """

    calls: int = 0
    outputs: int = 0
    macs: int | None = 0
    positions: int | None = 0

    def plus(self, other: Use) -> Use:
        """Return the sum of two uses."""
        return Use(
            self.calls + other.calls,
            self.outputs + other.outputs,
            _sum(self.macs, other.macs),
            _sum(self.positions, other.positions),
        )


UNKNOWN = Use(macs=None, positions=None)


def uses(model: nn.Module, weights: Iterable[LayerWeight], input_shape: Sequence[int]) -> dict[str, Use]:
    """Run `model` once on an image of zeros and return the use of each of `weights`, by name.

    Args:
        model: any network that takes one tensor; left as it is (see `run_on_zeros`).
        weights: some of its weights.
        input_shape: of one image without the batch, `(channels, height, width)`.

    Raises:
        SettingsError: `input_shape` is not made of positive whole numbers, or the network cannot take it.
    """
    weights = list(weights)
    by_place = {(weight.layer, weight.parameter): weight for weight in weights}
    tensors = {weight.name: weight.latent if weight.quantized else weight.value for weight in weights}
    found = {weight.name: Use() for weight in weights}

    def count(layer: nn.Module, inputs: dict[str, Any], output: Any) -> None:
        own = by_place.get((layer, "weight"))
        shape = None if own is None else tensors[own.name].shape
        for owner, parameter, use in _uses_of_call(layer, shape, inputs, output):
            weight = by_place.get((owner, parameter))
            if weight is not None:
                found[weight.name] = found[weight.name].plus(use)

    reads = _Reads()
    run_on_zeros(model, input_shape, {weight.layer: None for weight in weights}, count, reads)
    for name, tensor in tensors.items():
        if not found[name].calls and id(tensor) in reads.seen:
            found[name] = UNKNOWN
    return found


def _uses_of_call(
    layer: nn.Module, shape: torch.Size | None, inputs: dict[str, Any], output: Any
) -> Iterable[tuple[nn.Module, str, Use]]:
    """Return layer, parameter and use of each weight that a call of `layer` computed with.

    Args:
        layer: the layer that was called.
        shape: shape of its `weight`, `None` if that is not counted.
        inputs, output: of the call.
    """
    if isinstance(layer, nn.MultiheadAttention):
        # A subclass with another forward may compute anything.
        return _of_attention(layer, inputs) if type(layer).forward is nn.MultiheadAttention.forward else ()
    if shape is None or not isinstance(layer, QUANTIZABLE):
        return ()
    # A transposed convolution multiplies each input by the weights of that input, the others each output's.
    at = next(iter(inputs.values())) if isinstance(layer, TRANSPOSED) else output
    positions = at.numel() // shape[0]
    return [(layer, "weight", Use(1, output.numel(), positions * shape.numel(), positions))]


def _of_attention(layer: nn.MultiheadAttention, inputs: dict[str, Any]) -> list[tuple[nn.Module, str, Use]]:
    """Return the uses of attention's projections; products of queries, keys and values need no weights."""
    width = layer.embed_dim
    tokens = [
        inputs[name].numel() // features
        for name, features in (("query", width), ("key", layer.kdim), ("value", layer.vdim))
    ]
    found: list[tuple[nn.Module, str, Use]] = []
    if layer._qkv_same_embed_dim:
        outputs = sum(tokens) * width
        together = tokens[0] if len(set(tokens)) == 1 else None
        found.append((layer, "in_proj_weight", Use(1, outputs, outputs * width, together)))
    else:
        for name, count, features in zip("qkv", tokens, (width, layer.kdim, layer.vdim), strict=True):
            outputs = count * width
            found.append((layer, f"{name}_proj_weight", Use(1, outputs, outputs * features, count)))
    # It reads the weight of its output projection itself.
    outputs = tokens[0] * width
    return [*found, (layer.out_proj, "weight", Use(1, outputs, outputs * width, tokens[0]))]


class _Reads(TorchFunctionMode):
    """Notes which tensors are given to functions of torch.

    Attributes:
        seen: ids of the tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the arguments, and call the function."""
        kwargs = kwargs or {}
        self.seen.update(id(each) for each in (*args, *kwargs.values()) if isinstance(each, Tensor))
        return func(*args, **kwargs)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
