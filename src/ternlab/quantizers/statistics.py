"""Statistics of a weight over the elements that share a scale, in float32 or wider."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def statistics_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype in which statistics of `weight` are computed: float32, or float64 for float64."""
    return torch.promote_types(weight.dtype, torch.float32)


def smallest(dtype: torch.dtype) -> float:
    """Return the smallest number that scales and widths are kept above, so that nothing is divided by 0."""
    limits = torch.finfo(dtype)
    return limits.tiny / limits.eps


def widened(weight: Tensor) -> Tensor:
    """Return `weight` in the dtype in which its statistics are computed."""
    return weight.to(statistics_dtype(weight))


def largest(values: Tensor, granularity: str) -> Tensor:
    """Return the largest value of the layer (no dimensions) or of each filter (filters, 1, ...)."""
    dims = _dims(values, granularity)
    return values.amax(dims, keepdim=bool(dims))


def mean(values: Tensor, granularity: str) -> Tensor:
    """Return the mean over the layer (no dimensions) or over each filter (filters, 1, ...)."""
    dims = _dims(values, granularity)
    return values.mean(dims, keepdim=True) if dims else values.mean()


def mean_where(values: Tensor, chosen: Tensor, granularity: str) -> Tensor:
    """Return the mean of the values where `chosen`; 0 where none is. Shapes as `mean`.

    Args:
        values: float32 or wider.
        chosen: bool, the shape of `values`.
    """
    dims = _dims(values, granularity)
    kept = chosen.to(values.dtype)
    total, count = values * kept, kept
    if dims:
        return total.sum(dims, keepdim=True) / count.sum(dims, keepdim=True).clamp(min=1)
    return total.sum() / count.sum().clamp(min=1)


def group_size(weight: Tensor, granularity: str) -> int:
    """Return how many weights share a scale."""
    return weight.numel() // (weight.shape[0] if _dims(weight, granularity) else 1)


def _dims(weight: Tensor, granularity: str) -> tuple[int, ...]:
    """Return the dimensions of one filter; none for the whole layer, and for weights of one dimension."""
    return tuple(range(1, weight.ndim)) if granularity == "filter" else ()


def moments(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased deviation of all elements, in float32 or wider; the deviation is > 0."""
    wide = widened(weight)
    unit = _power_of_two(wide)
    scaled = wide / unit
    if scaled.numel() == 1:
        average, variance = scaled.reshape(()), torch.zeros_like(unit)
    else:
        variance, average = torch.var_mean(scaled)
    # A smaller deviation cannot be told from rounding; with a floor, constant weights have no 0 / 0.
    return average * unit, variance.clamp(min=torch.finfo(wide.dtype).eps ** 2).sqrt() * unit


@torch.no_grad()
def _power_of_two(wide: Tensor) -> Tensor:
    """Return the power of two just above the largest magnitude.

    Weights are divided by it before they are squared: the squares of 1e30 overflow in float32 and those of
    1e-30 vanish. A power of two costs no digits.
    """
    top: Tensor = torch.linalg.vector_norm(wide, math.inf).clamp(min=smallest(wide.dtype))
    mantissa: Tensor = torch.frexp(top).mantissa
    return top / mantissa
