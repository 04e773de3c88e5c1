r"""BWN: binary weight networks.

Mohammad Rastegari, Vicente Ordonez, Joseph Redmon and Ali Farhadi, "XNOR-Net: ImageNet Classification Using Binary
Convolutional Neural Networks", ECCV 2016, arXiv 1603.05279 (its first half).

Forward, for the latent weight w of one filter (or layer); only w is trained:

    S = mean|w|                                 minimizes ||w - S t|| for t = +-1
    t = +1 where w >= 0, else -1
    effective weight = S t

Backward: dL/dw = dL/d(S t) where |w| < 1, 0 beyond (surrogate: clipped, bound 1). The paper also multiplies by S
and adds 1 / n of the gradient because S depends on w; both are omitted, as in later implementations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ternlab.quantizers.base import BINARY, Assignment, Quantizer
from ternlab.quantizers.rule_options import BWNOptions
from ternlab.quantizers.statistics import mean, smallest, widened


class BWN(Quantizer):
    """Binary weight networks.

    Args:
        weight: not used; scales are recomputed in every pass.
        options: see `BWNOptions`.
    """

    options: BWNOptions
    alphabet = BINARY

    @torch.no_grad()
    def assign(self, weight: Tensor) -> Assignment:
        """Return the signs and the mean magnitude as the scale."""
        wide = widened(weight)
        codes = torch.where(wide < 0, -1.0, 1.0).to(weight.dtype)
        return Assignment(codes, mean(wide.abs(), self.options.granularity))

    def position(self, weight: Tensor, found: Assignment) -> Tensor:
        """Return the position of weights relative to the two levels, which are at 0 and 1."""
        return (widened(weight) / (2 * found.scale.clamp(min=smallest(found.scale.dtype))) + 0.5).clamp(0, 1)
