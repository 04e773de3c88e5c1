r"""SWS: statistical weight scaling.

Zhezhi He, Boqing Gong and Deliang Fan, "Optimize Deep Convolutional Neural Network with Ternarized Weights and
High Accuracy", WACV 2019, arXiv 1807.07948.

Forward, for the latent weight w of one layer; only w is trained:

    Delta = factor max|w|                       factor = 0.05
    S     = mean of |w| over |w| >= Delta
    t     = +1 where w >= Delta, -1 where w < -Delta, else 0
    effective weight = S t

Backward: dL/dw = dL/d(S t) where |w| < 1, 0 beyond (surrogate: clipped, bound 1). Neither S nor Delta passes a
gradient, and the gradient is not divided by S.

w = -Delta counts toward S but has the code 0, as in the authors' code. `granularity=filter` is our addition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import SWSOptions
from ternlab.quantizers.statistics import largest, mean_where, widened


class SWS(Quantizer):
    """Statistical weight scaling.

    Args:
        weight: not used; thresholds and scales are recomputed in every pass.
        options: see `SWSOptions`.
    """

    options: SWSOptions

    @torch.no_grad()
    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the scale over the weights at and beyond the threshold."""
        wide = widened(weight)
        magnitude = wide.abs()
        threshold = self.options.factor * largest(magnitude, self.options.granularity)
        scale = mean_where(magnitude, magnitude >= threshold, self.options.granularity)
        codes = (wide >= threshold).to(weight.dtype) - (wide < -threshold).to(weight.dtype)
        return Assignment(codes, scale, thresholds=(-threshold, threshold))
