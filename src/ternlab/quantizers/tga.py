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

Differences from the paper: the scale is kept above `SMALLEST_SCALE` standard deviations (the published formula can
reach 0 or less if the mean is far below zero), and constant or one-element weights give codes 0 instead of NaN.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Quantizer
from ternlab.quantizers.gaussian import tail_mean
from ternlab.quantizers.options import ThresholdOptions
from ternlab.quantizers.rule_options import TGAOptions
from ternlab.quantizers.statistics import largest, moments, widened

LARGEST_D = 3.0
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
        bound = self._bounded(deviation)
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
        bound = self._bounded(deviation)
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

    def _bounded(self, deviation: Tensor) -> Tensor:
        # The bound is detached: a threshold at the bound gets no gradient.
        return torch.minimum(self.threshold.to(deviation.dtype).abs(), LARGEST_D * deviation.detach())

    def _mean_of_scale(self, mean: Tensor) -> Tensor:
        return mean if self.options.scale == "tga" else torch.zeros_like(mean)

    def extra_repr(self) -> str:
        """Return the main options of the rule, for `print(model)`."""
        return f"scale={self.options.scale}, stats_grad={self.options.stats_grad}"


@torch.no_grad()
def first_threshold(weight: Tensor, options: ThresholdOptions) -> Tensor:
    """Return `options.init` times the largest magnitude or the standard deviation of `weight`, a scalar."""
    unit = largest(widened(weight).abs(), "layer") if options.unit == "max" else moments(weight)[1]
    return options.init * unit
