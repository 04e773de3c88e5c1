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

`first_scale` says in which unit Wp and Wn are trained, and where they start:

    relative    Wp = a m, with a = 1 at first and m = mean of |w| over t = 1, from each pass, not trained; Wn alike.
                This is the rule above for weights divided by m: dL/da = m dL/dWp, and dL/dw = a g where t = 1
    one         Wp = Wn = 1 at first, as in the authors' code
    mean        Wp = m of the first weights, then as above; dL/dw is as small as the weights, and codes hardly change

A scale of 1 is 10 to 100 times the size of trained weights. Without BatchNorm after every layer, activations and
gradients grow by that factor in each layer. So the default, `relative`, differs from the authors' code.

Difference from the authors' code: the scales stay positive (`trained_scale.positive`); there they can become negative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.rule_options import TTQOptions
from ternlab.quantizers.statistics import largest, mean_where, smallest, widened
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
        above, below = self._means(widened(weight))
        if options.first_scale != "mean":
            above, below = torch.ones_like(above), torch.ones_like(below)
        # Other names for multiples, so that a state with scales cannot be loaded as one with multiples.
        self._kind = "multiple" if options.first_scale == "relative" else "scale"
        self.register_parameter(f"positive_{self._kind}", nn.Parameter(above))
        self.register_parameter(f"negative_{self._kind}", nn.Parameter(below))

    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the two scales."""
        above = positive(self.get_parameter(f"positive_{self._kind}"))
        below = positive(self.get_parameter(f"negative_{self._kind}"))
        with torch.no_grad():
            wide = widened(weight)
            threshold = self._threshold(wide)
            beyond = wide.abs() > threshold
            codes = (wide.sign() * beyond).to(weight.dtype)
            direct = torch.where(beyond, torch.where(wide < 0, below, above), 1.0).to(weight.dtype)
        if self.options.first_scale == "relative":
            units = self._means(wide)
            above, below = above * units[0], below * units[1]
        return Assignment(codes, above, below, thresholds=(-threshold, threshold), direct=direct)

    @torch.no_grad()
    def _means(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean |w| beyond the threshold on the positive and on the negative side."""
        threshold = self._threshold(wide)
        sides = mean_where(wide, wide > threshold, "layer"), mean_where(-wide, wide < -threshold, "layer")
        floor = smallest(wide.dtype)
        return sides[0].clamp(min=floor), sides[1].clamp(min=floor)

    def _threshold(self, wide: Tensor) -> Tensor:
        return self.options.factor * largest(wide.abs(), "layer")
