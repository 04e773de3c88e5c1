r"""LSQ: learned step size quantization.

Steven K. Esser, Jeffrey L. McKinstry, Deepika Bablani, Rathinakumar Appuswamy and Dharmendra S. Modha, "Learned
Step Size Quantization", ICLR 2020, arXiv 1902.08153.

Forward, for the latent weight w of one layer with a trained step size s > 0 and codes from Qn to Qp:

    v = w / s
    t = round(clip(v, Qn, Qp))                  b bits: Qn = -2^(b-1), Qp = 2^(b-1) - 1; ternary: -1, 1
    effective weight = s t

Backward, where g is the gradient of the effective weight and n the number of weights that share the step size:

    dL/ds = sum of g (t - v) over Qn < v < Qp, plus sum of g t outside; times 1 / sqrt(n Qp)
    dL/dw = g where Qn < v < Qp, else 0         (surrogate: clipped to the rule's range)

The initial step size is 2 mean|w| / sqrt(Qp).

Differences from the paper: the step size stays positive (`trained_scale.positive`); in published code it can become
negative. `granularity=filter` and `bits=ternary` (the two-bit rule without its lowest code) are our additions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import LSQOptions
from ternlab.quantizers.statistics import group_size, mean, widened
from ternlab.quantizers.trained_scale import positive


class LSQ(Quantizer):
    """Learned step size quantization.

    Args:
        weight: the layer's latent weight, from which the step size is initialized.
        options: see `LSQOptions`.
    """

    options: LSQOptions

    def __init__(self, weight: Tensor, options: LSQOptions) -> None:
        super().__init__(weight, options)
        half = 1 if options.bits == "ternary" else 2 ** (options.bits - 1)
        self.alphabet = range(-1, 2) if options.bits == "ternary" else range(-half, half)
        highest = self.alphabet[-1]
        first = 2 * options.factor * mean(widened(weight).abs(), options.granularity) / math.sqrt(highest)
        self.step = nn.Parameter(first)
        self._gradient_scale = 1 / math.sqrt(group_size(weight, options.granularity) * highest)

    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the step size."""
        step = positive(self.step, self._gradient_scale)
        low, high = self.alphabet[0], self.alphabet[-1]
        with torch.no_grad():
            place = widened(weight) / step
            rounded = place.clamp(low, high).round()
            inside = (place > low) & (place < high)
            slope = (rounded - torch.where(inside, place, 0)).to(weight.dtype)
            half = step / 2 if len(self.alphabet) == 3 else None
        thresholds = None if half is None else (-half, half)
        return Assignment(rounded.to(weight.dtype), step, thresholds=thresholds, inside=inside, slope=slope)

    def position(self, weight: Tensor, found: Assignment) -> Tensor:
        """Return w / s, clamped to the outermost codes."""
        return (widened(weight) / found.scale).clamp(self.alphabet[0], self.alphabet[-1])
