"""Closed forms for the truncated Gaussian, differentiable and numerically stable in float32."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


class _InverseMills(torch.autograd.Function):
    """lambda(d) = phi(d) / (1 - Phi(d)), with lambda' = lambda (lambda - d)."""

    @staticmethod
    def forward(ctx: Any, d: Tensor) -> Tensor:
        # phi and 1 - Phi both vanish for large d; computing their ratio with the scaled erfc loses no precision.
        ratio: Tensor = _SQRT_2_OVER_PI / torch.special.erfcx(d * _SQRT_HALF)
        ctx.save_for_backward(d, ratio)
        return ratio

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        d, ratio = ctx.saved_tensors
        slope: Tensor = ratio * (ratio - d)
        return grads[0] * slope


def inverse_mills(d: Tensor) -> Tensor:
    """Return phi(d) / (1 - Phi(d)) elementwise, the mean of a standard Gaussian beyond `d`.

    Args:
        d: threshold in standard deviations, of any shape, float32 or float64.
    """
    ratio: Tensor = _InverseMills.apply(d)
    return ratio


def tail_mean(mean: Tensor, deviation: Tensor, threshold: Tensor) -> Tensor:
    """Return the mean of N(mean, deviation^2) beyond `mean + threshold`: mean + deviation lambda(d).

    Args:
        mean, deviation, threshold: broadcastable; `deviation > 0`, `threshold >= 0`.

    Source: He & Fan, CVPR 2019 (arXiv 1810.01018), the scale of the truncated Gaussian approximation.
    """
    return mean + deviation * inverse_mills(threshold / deviation)
