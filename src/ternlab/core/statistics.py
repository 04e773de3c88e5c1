"""Mean, standard deviation and 95 % confidence interval of the mean, over seeds and for paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Summary statistics of a quantity over repeats.

    Attributes:
        n: number of values.
        mean: mean of the values; `None` without values.
        std: sample standard deviation (n - 1 in the denominator); `None` for fewer than two values.
    """

    n: int
    mean: float | None
    std: float | None

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % confidence interval of the mean (Student's t with n - 1 degrees of freedom).

        `None` for fewer than two values.
        """
        return None if self.std is None else float(half_widths(self.n, self.std))

    @property
    def low(self) -> float | None:
        """Lower bound of the interval."""
        return None if self.mean is None or self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper bound of the interval."""
        return None if self.mean is None or self.half_width is None else self.mean + self.half_width

    def as_dict(self) -> dict[str, float | None]:
        """Return the values by name, with the bounds of the interval."""
        return {"n": self.n, "mean": self.mean, "std": self.std, "low": self.low, "high": self.high}


def summary(values: Sequence[float]) -> Summary:
    """Return count, mean and standard deviation of finite values."""
    n = len(values)
    if not n:
        return Summary(0, None, None)
    mean = math.fsum(values) / n
    return Summary(n, mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None)


def paired(first: Mapping[Any, float], second: Mapping[Any, float]) -> Summary:
    """Return the summary of `first` minus `second` over the keys (seeds) that both have.

    The interval is that of the differences, so that what a seed adds to both cancels.
    """
    return summary([first[key] - second[key] for key in first if key in second])


def half_widths(n: int | np.ndarray[Any, Any], std: float | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return half the width of the 95 % interval of each mean; NaN for fewer than two values.

    Args:
        n: numbers of values, any shape.
        std: sample standard deviations, in the same shape; NaN where there is none.
    """
    # Deferred, since most commands need no interval. scipy.special has the quantile of scipy.stats for half of the
    # import's time.
    import numpy as np
    from scipy.special import stdtrit

    n = np.asarray(n)
    several = n > 1
    freedom = np.where(several, n - 1, 1).astype(float)
    quantile = stdtrit(freedom, 0.5 + CONFIDENCE / 2)
    return np.where(several, quantile * std / np.sqrt(np.maximum(n, 1)), np.nan)
