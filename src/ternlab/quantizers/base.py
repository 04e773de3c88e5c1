"""What every quantization rule is: a parametrization that also gives its codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Codes:
    """A quantized weight as integers and floats.

    Attributes:
        codes: int8, the weight's shape; -1, 0 or +1 for ternary rules.
        scale: in the weight's dtype, broadcastable to the weight's shape.
        thresholds: the two weights between which the code is 0, float32 or wider (shape: 2).
    """

    codes: Tensor
    scale: Tensor
    thresholds: Tensor

    def effective(self) -> Tensor:
        """Return the effective weight, bit for bit the one that the layer computes with."""
        return self.codes.to(self.scale.dtype) * self.scale


class Quantizer(nn.Module):
    """Base of the rules: maps a latent weight to its effective weight.

    It is attached with `torch.nn.utils.parametrize`, so any network can be quantized and its own code stays
    plain. Statistics are computed in float32 or wider, whatever the autocast.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Return the effective weight; same shape and dtype as `weight`."""
        raise NotImplementedError

    def codes(self, weight: Tensor) -> Codes:
        """Return the codes from which `forward(weight)` is reproduced bit for bit."""
        raise NotImplementedError

    def thresholds(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that are stepped by the threshold optimizer; none by default."""
        yield from ()

    def statistics(self, weight: Tensor) -> dict[str, float]:
        """Return what is logged of a layer: `threshold`, `scale`, `sparsity` and what else the rule has."""
        codes = self.codes(weight)
        return {
            "scale": float(codes.scale.float().mean()),
            "sparsity": float((codes.codes == 0).float().mean()),
        }


def statistics_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype in which statistics of `weight` are computed: float32, or float64 for float64."""
    return torch.promote_types(weight.dtype, torch.float32)
