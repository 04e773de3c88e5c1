"""Mean, standard deviation and 95 % confidence interval of the mean, over seeds and for paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Summary statistics of a quantity over repeats.

    Attributes:
        n: number of values.
        mean: of the values; `None` without values.
        deviation: sample standard deviation (n - 1 in the denominator); `None` for fewer than two values.
        low, high: bounds of the 95 % confidence interval of the mean (Student's t with n - 1 degrees of freedom);
            `None` for fewer than two values.
    """

    n: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float | None:
        """Half-width of the interval, as written after a plus-minus sign."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def summary(values: Sequence[float]) -> Summary:
    """Return mean, standard deviation and confidence interval of finite values."""
    n = len(values)
    if not n:
        return Summary(0, None, None, None, None)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean, None, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(half_widths(np.array([n]), np.array([deviation]))[0])
    return Summary(n, mean, deviation, mean - half, mean + half)


def paired(first: Mapping[Any, float], second: Mapping[Any, float]) -> Summary:
    """Return the summary of `first` minus `second` over the keys (seeds) that both have.

    The interval is that of the differences, so that what a seed adds to both cancels.
    """
    return summary([first[key] - second[key] for key in first if key in second])


def half_widths(n: np.ndarray[Any, Any], deviation: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return half the width of the 95 % interval of each mean; NaN for fewer than two values.

    Args:
        n: (groups,), numbers of values.
        deviation: (groups,), sample standard deviations; NaN where there is none.
    """
    # Deferred, and scipy.special instead of scipy.stats: the same quantile for half of the import's time.
    from scipy.special import stdtrit

    several = n > 1
    freedom = np.where(several, n - 1, 1).astype(float)
    quantile = stdtrit(freedom, 0.5 + CONFIDENCE / 2)
    return np.where(several, quantile * deviation / np.sqrt(np.maximum(n, 1)), np.nan)
