r"""Absmean: the weight rule of BitNet b1.58.

Shuming Ma et al., "The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits", arXiv 2402.17764 (2024);
details from the authors' training tips.

Forward, for the latent weight w of one layer; only w is trained:

    S = max(mean|w|, 1e-5)
    t = clip(round(w / S), -1, 1)               i.e. a threshold of S / 2; halves are rounded to even, so to 0
    effective weight = S t

Backward: dL/dw = dL/d(S t) (surrogate: straight); S passes no gradient.

Only the weights are quantized: the published networks also have 8-bit activations and an RMSNorm before each layer.
Threshold factors other than 1/2 and `granularity=filter` are our additions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import AbsmeanOptions
from ternlab.quantizers.statistics import mean, widened

SMALLEST_SCALE = 1e-5


class Absmean(Quantizer):
    """BitNet b1.58's weight rule.

    Args:
        weight: not used; thresholds and scales are recomputed in every pass.
        options: see `AbsmeanOptions`.
    """

    options: AbsmeanOptions

    @torch.no_grad()
    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the mean magnitude as the scale."""
        wide = widened(weight)
        magnitude = wide.abs()
        scale = mean(magnitude, self.options.granularity).clamp(min=SMALLEST_SCALE)
        threshold = self.options.factor * scale
        codes = (wide.sign() * (magnitude > threshold)).to(weight.dtype)
        return Assignment(codes, scale, thresholds=(-threshold, threshold))
