r"""TTQ: trained ternary quantization.

Chenzhuo Zhu, Song Han, Huizi Mao and William J. Dally, "Trained Ternary Quantization", ICLR 2017, arXiv 1612.01064.

Forward, for the latent weight w of one layer with two trained scales Wp, Wn > 0:

    Delta = factor max|w|                       factor = 0.05
    t     = +1 where w > Delta, -1 where w < -Delta, else 0
    effective weight = Wp where t = 1, -Wn where t = -1, else 0

Backward, where g is the gradient of the effective weight:

    dL/dWp = sum of g over t = 1
    dL/dWn = -sum of g over t = -1              a popular port lacks the minus sign
    dL/dw  = Wp g where t = 1, Wn g where t = -1, else g

Both scales are initialized to 1 (`first_scale=one`, as in the authors' code). `first_scale=mean` starts from the mean
|w| on each side; the gradient of the latent weights is then as small as the weights, and codes hardly change.

Difference from the authors' code: the scales stay positive (`trained_scale.positive`); there they can become negative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import TTQOptions
from ternlab.quantizers.statistics import largest, mean_where, widened
from ternlab.quantizers.trained_scale import positive


class TTQ(Quantizer):
    """Trained ternary quantization with two scales per layer.

    Args:
        weight: the layer's latent weight, from which the scales are initialized.
        options: see `TTQOptions`.
    """

    options: TTQOptions

    def __init__(self, weight: Tensor, options: TTQOptions) -> None:
        super().__init__(weight, options)
        wide = widened(weight)
        threshold = self._threshold(wide)
        one = torch.ones_like(threshold)
        mean = options.first_scale == "mean"
        self.positive_scale = nn.Parameter(mean_where(wide, wide > threshold, "layer") if mean else one.clone())
        self.negative_scale = nn.Parameter(mean_where(-wide, wide < -threshold, "layer") if mean else one.clone())

    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the two scales."""
        above, below = positive(self.positive_scale), positive(self.negative_scale)
        with torch.no_grad():
            wide = widened(weight)
            threshold = self._threshold(wide)
            beyond = wide.abs() > threshold
            codes = (wide.sign() * beyond).to(weight.dtype)
            direct = torch.where(beyond, torch.where(wide < 0, below, above), 1.0).to(weight.dtype)
        return Assignment(codes, above, below, thresholds=(-threshold, threshold), direct=direct)

    def _threshold(self, wide: Tensor) -> Tensor:
        return self.options.factor * largest(wide.abs(), "layer")
