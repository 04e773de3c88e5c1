"""Sizes of a network: what its parameters take in full precision, and with quantized weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ternlab.quantizers.attach import codes, latent_weight, quantized_layers

FLOAT_BITS = 32
TERNARY_BITS = 2


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network's parameters in bytes, and the sparsity of its quantized weights.

    Counted as published: all parameters at 32 bits against quantized weights at 2 bits with one 32-bit
    scale a layer, everything else at 32 bits. BatchNorm's running statistics and the trained thresholds
    are left out of both; inference needs no thresholds.

    Attributes:
        parameters: of the full-precision network.
        float_bytes, ternary_bytes: equal when nothing is quantized.
        sparsity: share of zero codes among the quantized weights, 0 when there are none.
    """

    parameters: int
    quantized_weights: int
    float_bytes: int
    ternary_bytes: int
    sparsity: float

    @property
    def ratio(self) -> float:
        """How many times smaller the quantized network is."""
        return self.float_bytes / self.ternary_bytes


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
    zeros = scales = 0
    for layer in layers:
        found = codes(layer)
        zeros += int((found.codes == 0).sum())
        scales += found.scale.numel()
    bits = FLOAT_BITS * (parameters - quantized + scales) + TERNARY_BITS * quantized
    return Sizes(
        parameters=parameters,
        quantized_weights=quantized,
        float_bytes=parameters * FLOAT_BITS // 8,
        ternary_bytes=-(-bits // 8),
        sparsity=zeros / quantized if quantized else 0.0,
    )
