"""Intervals of numbers that searches sample from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

# Sampled numbers are rounded to this many digits of the interval's length, so that they can be read and typed.
_DIGITS = 5


@dataclass(frozen=True)
class Interval:
    """Numbers from `start` to `stop`, both included.

    Attributes:
        start: the smallest.
        stop: the largest.
        log: whether numbers are sampled uniformly in log space.
        whole: whether they are integers.
    """

    start: float
    stop: float
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> int | None:
        """Number of values; `None` for real numbers."""
        return int(self.stop) - int(self.start) + 1 if self.whole else None

    def wrong(self) -> str | None:
        """Return what is wrong with the endpoints, `None` if they are valid."""
        if not (math.isfinite(self.start) and math.isfinite(self.stop)):
            return "has an endpoint that is not finite"
        if self.start >= self.stop:
            return "must have an end greater than its start"
        if self.log and self.start <= 0:
            return "must start above 0 for a log scale"
        return None

    def draw(self, random: Random) -> float:
        """Return one number of the interval."""
        if self.whole and not self.log:
            return random.randint(int(self.start), int(self.stop))
        if not self.log:
            return self.rounded(random.uniform(self.start, self.stop))
        # An integer represents the numbers that round to it, also at the ends.
        margin = 0.5 if self.whole else 0.0
        return self.rounded(math.exp(random.uniform(math.log(self.start - margin), math.log(self.stop + margin))))

    def rounded(self, value: float) -> float:
        """Return the number to be typed for `value`: few digits, and inside of the interval."""
        if self.whole:
            return int(min(max(round(value), self.start), self.stop))
        reach = self.stop - self.start
        if self.log:
            reach = min(reach, abs(value))
        places = _DIGITS - 1 - math.floor(math.log10(reach))
        return min(max(round(float(value), places), self.start), self.stop)
