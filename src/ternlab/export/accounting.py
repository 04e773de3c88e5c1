"""Sizes of a network: what its parameters take in full precision, and with quantized weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ternlab.quantizers.attach import codes, latent_weight, quantized_layers
from ternlab.quantizers.base import Plane

FLOAT_BITS = 32


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network's parameters in bytes, and the sparsity of its quantized weights.

    Counted as published: all parameters at 32 bits against quantized weights at the bits of their codes (2 for
    ternary ones, in each plane) with 32-bit scales, everything else at 32 bits. BatchNorm's running statistics and
    the trained thresholds are left out of both; inference needs no thresholds.

    Attributes:
        parameters: of the full-precision network.
        float_bytes, quantized_bytes: equal when nothing is quantized.
        sparsity: share of zero codes among the quantized weights, 0 when there are none.
    """

    parameters: int
    quantized_weights: int
    float_bytes: int
    quantized_bytes: int
    sparsity: float

    @property
    def ratio(self) -> float:
        """How many times smaller the quantized network is."""
        return self.float_bytes / self.quantized_bytes


def bits_of(plane: Plane) -> int:
    """Return the whole bits that hold any code of the plane: 2 for ternary codes, 1 for binary ones."""
    return (len(plane.alphabet) - 1).bit_length()


def scales_of(plane: Plane) -> int:
    """Return the number of the plane's scales."""
    return plane.scale.numel() * (1 if plane.negative_scale is None else 2)


def sizes(model: nn.Module) -> Sizes:
    """Return the sizes of `model`."""
    layers = [layer for _, layer in quantized_layers(model)]
    thresholds = sum(
        parameter.numel()
        for layer in layers
        for name, parameter in layer.named_parameters()
        if name.startswith("parametrizations.weight.0.")
    )
    parameters = sum(parameter.numel() for parameter in model.parameters()) - thresholds
    quantized = sum(latent_weight(layer).numel() for layer in layers)
    found = [codes(layer) for layer in layers]
    code_bits = sum(plane.codes.numel() * bits_of(plane) for each in found for plane in each.planes)
    scales = sum(scales_of(plane) for each in found for plane in each.planes)
    zeros = sum(each.zeros() for each in found)
    bits = FLOAT_BITS * (parameters - quantized + scales) + code_bits
    return Sizes(
        parameters=parameters,
        quantized_weights=quantized,
        float_bytes=parameters * FLOAT_BITS // 8,
        quantized_bytes=-(-bits // 8),
        sparsity=zeros / quantized if quantized else 0.0,
    )
