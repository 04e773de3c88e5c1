r"""Given: weights that are ternary already, such as those of a published network.

Each weight of a layer (or filter) is one of three values. The positive and the negative one may differ in magnitude:

    Wp = the largest weight, Wn = the largest negated weight        trained
    t  = +1 where w > Wp / 2, -1 where w < -Wn / 2, else 0          the nearest level
    effective weight = Wp where t = 1, -Wn where t = -1, else 0

For weights from {-Wn, 0, Wp} the effective weights are the weights themselves, bit for bit. The rule applies only to
these (`fits`); other layers stay in full precision. While training continues, latent weights and scales move.

Backward: dL/dw = g (surrogate: straight); dL/dWp = sum of g over t = 1, dL/dWn = -sum of g over t = -1, where g is the
gradient of the effective weight.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Codes, Plane, Quantizer
from ternlab.quantizers.options import RuleOptions
from ternlab.quantizers.rule_options import GivenOptions
from ternlab.quantizers.statistics import largest, widened
from ternlab.quantizers.trained_scale import positive


class Given(Quantizer):
    """The codes and scales that the weights have already.

    Args:
        weight: the layer's weight, from which the scales are read.
        options: see `GivenOptions`.
    """

    options: GivenOptions

    def __init__(self, weight: Tensor, options: GivenOptions) -> None:
        super().__init__(weight, options)
        wide = widened(weight)
        self.positive_scale = nn.Parameter(largest(wide.clamp(min=0), options.granularity))
        self.negative_scale = nn.Parameter(largest((-wide).clamp(min=0), options.granularity))

    @classmethod
    def fits(cls, weight: Tensor, options: RuleOptions) -> bool:
        """Return whether every layer (or filter) of the weight has no values but 0, a positive and a negative one."""
        assert isinstance(options, GivenOptions)
        found: Tensor = cls(weight, options).codes(weight).effective()
        return torch.equal(found, weight)

    def assign(self, weight: Tensor) -> Assignment:
        """Return the nearest levels and the two scales."""
        above, below = positive(self.positive_scale), positive(self.negative_scale)
        with torch.no_grad():
            wide = widened(weight)
            low, high = -below / 2, above / 2
            codes = (wide > high).to(weight.dtype) - (wide < low).to(weight.dtype)
        return Assignment(codes, above, below, thresholds=(low, high))

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Codes:
        """Return one plane; it has two scales only where they differ and both signs occur."""
        (plane,) = super().codes(weight).planes
        return Codes((_without_superfluous_scale(plane),))


def _without_superfluous_scale(plane: Plane) -> Plane:
    negative = plane.negative_scale
    assert negative is not None
    if torch.equal(negative, plane.scale) or not (plane.codes < 0).any():
        return replace(plane, negative_scale=None)
    return plane if (plane.codes > 0).any() else replace(plane, scale=negative, negative_scale=None)
