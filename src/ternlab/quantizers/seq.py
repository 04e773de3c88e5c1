r"""SEQ: stretched elastic quantization, ternary.

Zechun Liu et al., "ParetoQ: Scaling Laws in Extremely Low-bit LLM Quantization", arXiv 2502.02631 (2025). The rule
is that of the published program; the paper's formula gives four levels for three.

Forward, for the latent weight w of one filter with a trained range a > 0:

    t = +1 where w > a / 3, -1 where w < -a / 3, else 0
    effective weight = (2 a / 3) t              the levels {-2/3, 0, 2/3} times a

Backward, with g the gradient of the effective weight and n the number of weights that share the range:

    dL/da = sum of g (2 t / 3 - w / a) over |w| <= 0.99 a, plus sum of 2 g t / 3 outside; times 1 / sqrt(n)
    dL/dw = g where |w| <= 0.99 a, else 0          (surrogate: clipped to the rule's range)

The first range is the filter's largest |w|, so that most codes are 0 at first: under a Gaussian 7 of 10 for filters of
hundreds of weights, more for larger ones.

Deviations: the range stays positive (`trained_scale.positive`), and the scale of its gradient is that of LSQ for
the weights that share it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import SEQOptions
from ternlab.quantizers.statistics import group_size, largest, widened
from ternlab.quantizers.trained_scale import positive

# The published program clips a little inside of the range.
LIMIT = 0.99


class SEQ(Quantizer):
    """Stretched elastic quantization with three levels.

    Args:
        weight: the layer's latent weight; the range starts from it.
        options: see `SEQOptions`.
    """

    options: SEQOptions

    def __init__(self, weight: Tensor, options: SEQOptions) -> None:
        super().__init__(weight, options)
        self.reach = nn.Parameter(options.factor * largest(widened(weight).abs(), options.granularity))
        self._gradient_scale = 1 / math.sqrt(group_size(weight, options.granularity))

    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes, and two thirds of the range as the scale."""
        reach = positive(self.reach, self._gradient_scale)
        scale = reach * (2 / 3)
        with torch.no_grad():
            wide = widened(weight)
            magnitude = wide.abs()
            threshold = reach / 3
            inside = magnitude <= LIMIT * reach
            codes = wide.sign() * (magnitude > threshold)
            slope = (codes - torch.where(inside, wide / scale, 0)).to(weight.dtype)
        thresholds = (-threshold, threshold)
        return Assignment(codes.to(weight.dtype), scale, thresholds=thresholds, inside=inside, slope=slope)
