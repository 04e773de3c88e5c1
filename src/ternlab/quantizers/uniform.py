r"""Uniform symmetric quantization, the common baseline for 2 to 8 bits.

Forward, for the latent weight w of one layer (or filter) and Q = 2^(b-1) - 1; only w is trained:

    S = max|w| / Q
    t = round(w / S)                            from -Q to Q, so every weight is within S / 2 of its level
    effective weight = S t

Backward: dL/dw = dL/d(S t) (surrogate: straight); S passes no gradient.

Source: R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper", arXiv
1806.08342 (2018), section 2, the symmetric quantizer without the lowest code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import UniformOptions
from ternlab.quantizers.statistics import largest, smallest, widened


class Uniform(Quantizer):
    """Uniform symmetric quantization.

    Args:
        weight: not used; scales are recomputed in every pass.
        options: see `UniformOptions`.
    """

    options: UniformOptions

    def __init__(self, weight: Tensor, options: UniformOptions) -> None:
        super().__init__(weight, options)
        highest = 2 ** (options.bits - 1) - 1
        self.alphabet = range(-highest, highest + 1)

    @torch.no_grad()
    def assign(self, weight: Tensor) -> Assignment:
        """Return the nearest levels and their distance as the scale."""
        wide = widened(weight)
        top = largest(wide.abs(), self.options.granularity)
        scale = (top / self.alphabet[-1]).clamp(min=smallest(wide.dtype))
        codes = (wide / scale).round().clamp(self.alphabet[0], self.alphabet[-1])
        return Assignment(codes.to(weight.dtype), scale)

    def position(self, weight: Tensor, found: Assignment) -> Tensor:
        """Return w / S."""
        return widened(weight) / found.scale
