"""Weight statistics over the elements that share a scale, in float32 or wider."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def statistics_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype in which statistics of `weight` are computed: float32, or float64 for float64."""
    return torch.promote_types(weight.dtype, torch.float32)


def smallest(dtype: torch.dtype) -> float:
    """Return the lower bound for scales and widths that prevents division by 0."""
    limits = torch.finfo(dtype)
    return limits.tiny / limits.eps


def widened(weight: Tensor) -> Tensor:
    """Return `weight` in the dtype in which its statistics are computed."""
    return weight.to(statistics_dtype(weight))


def largest(values: Tensor, granularity: str) -> Tensor:
    """Return the largest value of the layer (a scalar) or of each filter (filters, 1, ...)."""
    dims = _dims(values, granularity)
    return values.amax(dims, keepdim=bool(dims))


def mean(values: Tensor, granularity: str) -> Tensor:
    """Return the mean over the layer (a scalar) or over each filter (filters, 1, ...)."""
    dims = _dims(values, granularity)
    return values.mean(dims, keepdim=True) if dims else values.mean()


def mean_where(values: Tensor, chosen: Tensor, granularity: str) -> Tensor:
    """Return the mean of the values where `chosen` is true, or 0 if it is nowhere true. Shapes are as for `mean`.

    Args:
        values: float32 or wider.
        chosen: bool, in the shape of `values`.
    """
    dims = _dims(values, granularity)
    kept = chosen.to(values.dtype)
    total, count = values * kept, kept
    if dims:
        return total.sum(dims, keepdim=True) / count.sum(dims, keepdim=True).clamp(min=1)
    return total.sum() / count.sum().clamp(min=1)


def group_size(weight: Tensor, granularity: str) -> int:
    """Return the number of weights that share a scale."""
    return weight.numel() // (weight.shape[0] if _dims(weight, granularity) else 1)


def _dims(weight: Tensor, granularity: str) -> tuple[int, ...]:
    """Return the dimensions of one filter; empty for the whole layer and for one-dimensional weights."""
    return tuple(range(1, weight.ndim)) if granularity == "filter" else ()


def moments(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased standard deviation (> 0) of all elements, in float32 or wider."""
    wide = widened(weight)
    unit = _power_of_two(wide)
    scaled = wide / unit
    if scaled.numel() == 1:
        average, variance = scaled.reshape(()), torch.zeros_like(unit)
    else:
        variance, average = torch.var_mean(scaled)
    # A smaller standard deviation is indistinguishable from rounding; the floor avoids 0 / 0 for constant weights.
    return average * unit, variance.clamp(min=torch.finfo(wide.dtype).eps ** 2).sqrt() * unit


@torch.no_grad()
def _power_of_two(wide: Tensor) -> Tensor:
    """Return the power of two just above the largest magnitude.

    Weights are divided by it before they are squared: in float32, the square of 1e30 overflows and that of 1e-30
    underflows. Dividing by a power of two loses no precision.
    """
    top: Tensor = torch.linalg.vector_norm(wide, math.inf).clamp(min=smallest(wide.dtype))
    mantissa: Tensor = torch.frexp(top).mantissa
    return top / mantissa
