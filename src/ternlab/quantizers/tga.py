r"""TGA: truncated Gaussian approximation.

Zhezhi He and Deliang Fan, "Simultaneously Optimizing Weight and Quantizer of Ternary Neural Network using
Truncated Gaussian Approximation", CVPR 2019, arXiv 1810.01018.

Forward, for the latent weight w of one layer with mean mu and (unbiased) deviation sigma:

    Dc = min(|Delta|, 3 sigma)                 Delta is trained, one number a layer
    t  = +1 where w > mu + Dc, -1 where w < mu - Dc, else 0
    S  = mu + sigma lambda(Dc / sigma)         lambda(d) = phi(d) / (1 - Phi(d))
    effective weight = S t

Backward, with g = dL/d(S t) and c = sum(g t):

    dL/dDelta = c lambda (lambda - d) sign(Delta), 0 where |Delta| >= 3 sigma
    dL/dw     = g + c dS/dw                    (stats_grad: S depends on w through mu and sigma)
    dL/dw     = g                              (without stats_grad)

With `gradient_correction=False` the direct part g becomes S g. The paper's text was not at hand; the rule
follows the first author's published program where both are silent.

Deviations: the scale is kept above `SMALLEST_SCALE` deviations (the published formula can reach 0 or less
when the mean is far below zero), and constant or one-element weights give codes 0 instead of NaN.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Codes, Quantizer, statistics_dtype
from ternlab.quantizers.gaussian import tail_mean
from ternlab.quantizers.options import TGAOptions, ThresholdOptions

LARGEST_D = 3.0
SMALLEST_SCALE = 1e-3

_log = logging.getLogger(__name__)


class TGA(Quantizer):
    """Truncated Gaussian approximation with one trainable threshold for the layer.

    Args:
        weight: the layer's latent weight, any shape; the first threshold is a fraction of its largest
            magnitude or of its deviation (`threshold.init`, `threshold.unit`).
        options: see `TGAOptions`.
    """

    def __init__(self, weight: Tensor, options: TGAOptions) -> None:
        super().__init__()
        self.options = options
        self.threshold = nn.Parameter(first_threshold(weight, options.threshold))
        self._warned = False

    def forward(self, weight: Tensor) -> Tensor:
        """Return S t; shape and dtype of `weight`."""
        codes, scale = self._quantize(weight)
        effective: Tensor = _Scaled.apply(weight, codes, scale.to(weight.dtype), self.options.gradient_correction)
        return effective

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Codes:
        """Return int8 codes, the scale (no dimensions, the weight's dtype) and the two thresholds."""
        codes, scale = self._quantize(weight)
        mean, deviation = moments(weight)
        bound = self._bounded(deviation)
        thresholds = torch.stack([mean - bound, mean + bound])
        return Codes(codes.to(torch.int8), scale.to(weight.dtype), thresholds)

    def thresholds(self) -> Iterator[nn.Parameter]:
        """Yield the layer's threshold."""
        yield self.threshold

    @torch.no_grad()
    def statistics(self, weight: Tensor) -> dict[str, float]:
        """Return threshold, d = threshold / sigma, mean, sigma, scale and sparsity of the layer."""
        mean, deviation = moments(weight)
        bound = self._bounded(deviation)
        if float(tail_mean(self._mean_of_scale(mean), deviation, bound)) <= 0 and not self._warned:
            self._warned = True
            _log.warning("The scale of a layer came out <= 0 (mean %.3g) and is kept small and positive.", mean)
        return {
            "threshold": float(self.threshold),
            "d": float(bound / deviation),
            "mean": float(mean),
            "sigma": float(deviation),
            **super().statistics(weight),
        }

    def _quantize(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes in the weight's dtype, and the scale with its gradient, in float32 or wider."""
        mean, deviation = moments(weight)
        bound = self._bounded(deviation)
        with torch.no_grad():
            wide = weight.to(mean.dtype)
            codes = (wide > mean + bound).to(weight.dtype) - (wide < mean - bound).to(weight.dtype)
        if not self.options.stats_grad:
            mean, deviation = mean.detach(), deviation.detach()
        scale = tail_mean(self._mean_of_scale(mean), deviation, bound)
        return codes, scale.clamp(min=SMALLEST_SCALE * deviation.detach())

    def _bounded(self, deviation: Tensor) -> Tensor:
        # The bound is detached: a threshold that has reached it has no gradient.
        return torch.minimum(self.threshold.to(deviation.dtype).abs(), LARGEST_D * deviation.detach())

    def _mean_of_scale(self, mean: Tensor) -> Tensor:
        return mean if self.options.scale == "tga" else torch.zeros_like(mean)

    def extra_repr(self) -> str:
        """Return the options that differ from one rule to the next, for `print(model)`."""
        return f"scale={self.options.scale}, stats_grad={self.options.stats_grad}"


class _Scaled(torch.autograd.Function):
    """S t forward; straight through to the latent weight backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, codes: Tensor, scale: Tensor, gradient_correction: bool) -> Tensor:
        ctx.save_for_backward(codes, scale)
        ctx.gradient_correction = gradient_correction
        return codes * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (grad,) = grads
        codes, scale = ctx.saved_tensors
        direct = grad if ctx.gradient_correction else grad * scale
        return direct, None, (grad * codes).sum().reshape(scale.shape), None


def moments(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased deviation of all elements, in float32 or wider; the deviation is > 0."""
    wide = weight.to(statistics_dtype(weight))
    unit = _power_of_two(wide)
    scaled = wide / unit
    if scaled.numel() == 1:
        mean, variance = scaled.reshape(()), torch.zeros_like(unit)
    else:
        variance, mean = torch.var_mean(scaled)
    # A smaller deviation cannot be told from rounding; with a floor, constant weights have no 0 / 0.
    return mean * unit, variance.clamp(min=torch.finfo(wide.dtype).eps ** 2).sqrt() * unit


@torch.no_grad()
def _power_of_two(wide: Tensor) -> Tensor:
    """Return the power of two just above the largest magnitude.

    Weights are divided by it before they are squared: the squares of 1e30 overflow in float32 and those of
    1e-30 vanish. A power of two costs no digits.
    """
    limits = torch.finfo(wide.dtype)
    largest: Tensor = torch.linalg.vector_norm(wide, math.inf).clamp(min=limits.tiny / limits.eps)
    mantissa: Tensor = torch.frexp(largest).mantissa
    return largest / mantissa


@torch.no_grad()
def first_threshold(weight: Tensor, options: ThresholdOptions) -> Tensor:
    """Return `options.init` times the largest magnitude, or the deviation, of `weight` (no dimensions)."""
    wide = weight.to(statistics_dtype(weight))
    unit = wide.abs().max() if options.unit == "max" else moments(wide)[1]
    return options.init * unit
