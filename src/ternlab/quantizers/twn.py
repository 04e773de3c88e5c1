r"""TWN: ternary weight networks.

Fengfu Li, Bin Liu, Xiaoxing Wang, Bo Zhang and Junchi Yan, "Ternary Weight Networks", arXiv 1605.04711 (2016).

Forward, for the latent weight w of one layer (or filter); only w is trained:

    Delta = factor mean|w|                      factor = 0.7 as published, 0.75 in the authors' later code
    t     = +1 where w > Delta, -1 where w < -Delta, else 0
    S     = mean of |w| over |w| > Delta        minimizes ||w - S t|| for this t
    effective weight = S t

Backward: dL/dw = dL/d(S t) (surrogate: straight); neither S nor Delta passes a gradient.

The published code has one threshold and scale per layer. The authors' later code has one per filter
(`granularity=filter`) and leaves the last layer in full precision (`first_last`, `exclude`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import TWNOptions
from ternlab.quantizers.statistics import mean, mean_where, widened


class TWN(Quantizer):
    """Ternary weight networks.

    Args:
        weight: not used; thresholds and scales are recomputed in every pass.
        options: see `TWNOptions`.
    """

    options: TWNOptions

    @torch.no_grad()
    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the scale over the weights beyond the threshold."""
        wide = widened(weight)
        magnitude = wide.abs()
        threshold = self.options.factor * mean(magnitude, self.options.granularity)
        beyond = magnitude > threshold
        scale = mean_where(magnitude, beyond, self.options.granularity)
        return Assignment((wide.sign() * beyond).to(weight.dtype), scale, thresholds=(-threshold, threshold))
