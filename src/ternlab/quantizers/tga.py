r"""TGA: truncated Gaussian approximation.

Zhezhi He and Deliang Fan, "Simultaneously Optimizing Weight and Quantizer of Ternary Neural Network using
Truncated Gaussian Approximation", CVPR 2019, arXiv 1810.01018.

Forward, for the latent weight w of one layer with mean mu and (unbiased) standard deviation sigma:

    Dc = min(|Delta|, 3 sigma)                 Delta is trained, one per layer
    t  = +1 where w > mu + Dc, -1 where w < mu - Dc, else 0
    S  = mu + sigma lambda(Dc / sigma)         lambda(d) = phi(d) / (1 - Phi(d))
    effective weight = S t

Backward, where g = dL/d(S t) and c = sum(g t):

    dL/dDelta = c lambda (lambda - d) sign(Delta), 0 where |Delta| >= 3 sigma
    dL/dw     = g + c dS/dw                    (stats_grad: S depends on w through mu and sigma)
    dL/dw     = g                              (without stats_grad)

With `gradient_correction=False` the direct part g becomes S g; a surrogate only multiplies the direct part. The
paper's text was not available; where details are open, the rule follows the first author's published code.

A guarded rule (attached by `ternlab.quantize`, to be trained by any loop) keeps the layer alive if Delta leaves its
range, that is, if |Delta| >= 3 sigma or all codes would be 0:

    Dc = 0.612 sigma                           the L2 optimum of a Gaussian; some weight always lies beyond it
    dL/dDelta = |dL/dDc| sign(Delta)           a step back, at the pace at which Delta left

Differences from the paper: the scale is kept above `SMALLEST_SCALE` standard deviations (the published formula can
reach 0 or less if the mean is far below zero), and constant or one-element weights give codes 0 instead of NaN.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Fault, Quantizer
from ternlab.quantizers.gaussian import tail_mean
from ternlab.quantizers.options import ThresholdOptions
from ternlab.quantizers.rule_options import TGAOptions
from ternlab.quantizers.statistics import largest, moments, widened

LARGEST_D = 3.0
# lambda(d) = 2 d: the threshold with the smallest squared error of a Gaussian. At least one of n weights that are not
# all equal is sqrt((n - 1) / n) >= 0.707 standard deviations from their mean.
OPTIMAL_D = 0.612003
SMALLEST_SCALE = 1e-3

_log = logging.getLogger(__name__)


class TGA(Quantizer):
    """Truncated Gaussian approximation with one trainable threshold per layer.

    Args:
        weight: the layer's latent weight, of any shape; the initial threshold is a fraction of its largest magnitude
            or of its standard deviation (`threshold.init`, `threshold.unit`).
        options: see `TGAOptions`.
    """

    options: TGAOptions

    def __init__(self, weight: Tensor, options: TGAOptions) -> None:
        super().__init__(weight, options)
        self.threshold = nn.Parameter(first_threshold(weight, options.threshold))
        self._warned = False

    def assign(self, weight: Tensor) -> Assignment:
        """Return the codes and the closed-form scale."""
        mean, deviation = moments(weight)
        bound = self._bounded(weight, mean, deviation)
        with torch.no_grad():
            wide = widened(weight)
            low, high = mean - bound, mean + bound
            codes = (wide > high).to(weight.dtype) - (wide < low).to(weight.dtype)
        if not self.options.stats_grad:
            mean, deviation = mean.detach(), deviation.detach()
        scale = tail_mean(self._mean_of_scale(mean), deviation, bound)
        scale = scale.clamp(min=SMALLEST_SCALE * deviation.detach())
        direct = None if self.options.gradient_correction else scale.detach().to(weight.dtype)
        return Assignment(codes, scale, thresholds=(low, high), direct=direct)

    def thresholds(self) -> Iterator[nn.Parameter]:
        """Yield the layer's threshold."""
        yield self.threshold

    @torch.no_grad()
    def statistics(self, weight: Tensor) -> dict[str, float]:
        """Return the trained threshold, d = effective threshold / sigma, mean, sigma and scale of the layer."""
        mean, deviation = moments(weight)
        bound = self._bounded(weight, mean, deviation)
        if float(tail_mean(self._mean_of_scale(mean), deviation, bound)) <= 0 and not self._warned:
            self._warned = True
            _log.warning(
                "The computed scale of a layer is <= 0 (mean %.3g); a small positive one is used instead.", mean
            )
        return {
            **super().statistics(weight),
            "threshold": float(self.threshold),
            "d": float(bound / deviation),
            "mean": float(mean),
            "sigma": float(deviation),
        }

    @torch.no_grad()
    def fault(self, weight: Tensor) -> Fault | None:
        """Return why the layer cannot learn; also a threshold outside of its range."""
        mean, deviation = moments(weight)
        threshold, bound = float(self.threshold.abs()), LARGEST_D * float(deviation)
        largest = float((widened(weight) - mean).abs().max())
        what = None
        if threshold >= bound and largest > 0:
            what = f"its threshold {threshold:.3g} is beyond 3 sigma = {bound:.3g}, where it has no gradient"
        elif threshold >= largest > 0:
            what = f"its threshold {threshold:.3g} is beyond all of its weights (at most {largest:.3g} from their mean)"
        if what is not None:
            return Fault(what, "a smaller {threshold.init} or {threshold.lr}")
        return super().fault(weight)

    def _bounded(self, weight: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        threshold = self.threshold.to(deviation.dtype).abs()
        # The bound is detached: a threshold at the bound gets no gradient.
        bound = torch.minimum(threshold, LARGEST_D * deviation.detach())
        if not self.guarded:
            return bound
        with torch.no_grad():
            lowest, highest = widened(weight).aminmax()
            outside = (threshold >= LARGEST_D * deviation) | ((highest <= mean + bound) & (lowest >= mean - bound))
        kept: Tensor = _KeptInRange.apply(threshold, outside, OPTIMAL_D * deviation.detach())
        return kept

    def _mean_of_scale(self, mean: Tensor) -> Tensor:
        return mean if self.options.scale == "tga" else torch.zeros_like(mean)

    def extra_repr(self) -> str:
        """Return the main options of the rule, for `print(model)`."""
        return f"scale={self.options.scale}, stats_grad={self.options.stats_grad}"


class _KeptInRange(torch.autograd.Function):
    """Forward: `inside` where the threshold (>= 0) is outside of its range. Backward: there, a step back."""

    @staticmethod
    def forward(ctx: Any, threshold: Tensor, outside: Tensor, inside: Tensor) -> Tensor:
        ctx.save_for_backward(outside)
        return torch.where(outside, inside, threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (outside,) = ctx.saved_tensors
        return torch.where(outside, grads[0].abs(), grads[0]), None, None


@torch.no_grad()
def first_threshold(weight: Tensor, options: ThresholdOptions) -> Tensor:
    """Return `options.init` times the largest magnitude or the standard deviation of `weight`, a scalar."""
    unit = largest(widened(weight).abs(), "layer") if options.unit == "max" else moments(weight)[1]
    return options.init * unit
