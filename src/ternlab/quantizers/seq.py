r"""SEQ: stretched elastic quantization, ternary.

Zechun Liu et al., "ParetoQ: Scaling Laws in Extremely Low-bit LLM Quantization", arXiv 2502.02631 (2025). The rule
follows the published code; the paper's formula gives four levels instead of three.

Forward, for the latent weight w of one filter with a trained range a > 0:

    t = +1 where w > a / 3, -1 where w < -a / 3, else 0
    effective weight = (2 a / 3) t              the levels {-2/3, 0, 2/3} times a

Backward, where g is the gradient of the effective weight and n the number of weights that share the range:

    dL/da = sum of g (2 t / 3 - w / a) over |w| <= 0.99 a, plus sum of 2 g t / 3 outside; times 1 / sqrt(n)
    dL/dw = g where |w| <= 0.99 a, else 0          (surrogate: clipped to the rule's range)

The initial range is the filter's largest |w|, so most codes are initially 0: for a Gaussian, 7 of 10 in filters with
hundreds of weights, and more in larger ones.

Differences from the published code: the range stays positive (`trained_scale.positive`), and its gradient is scaled as
in LSQ, by the number of weights that share it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import SEQOptions
from ternlab.quantizers.statistics import group_size, largest, widened
from ternlab.quantizers.trained_scale import positive

# The published code clips slightly inside the range.
LIMIT = 0.99


class SEQ(Quantizer):
    """Stretched elastic quantization with three levels.

    Args:
        weight: the layer's latent weight, from which the range is initialized.
        options: see `SEQOptions`.
    """

    options: SEQOptions

    def __init__(self, weight: Tensor, options: SEQOptions) -> None:
        super().__init__(weight, options)
        self.reach = nn.Parameter(options.factor * largest(widened(weight).abs(), options.granularity))
        self._gradient_scale = 1 / math.sqrt(group_size(weight, options.granularity))

    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and two thirds of the range as the scale."""
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
