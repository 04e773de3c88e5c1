"""Intervals of numbers, from which searches draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

# A drawn number is rounded to so many digits of the interval's length: it must be read, compared and typed again.
_DIGITS = 5


@dataclass(frozen=True)
class Interval:
    """Numbers from `start` to `stop`, both included.

    Attributes:
        start: the smallest.
        stop: the largest.
        log: whether numbers are uniform in their logarithm.
        whole: whether they are integers.
    """

    start: float
    stop: float
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> int | None:
        """How many numbers there are; `None` where nobody counts them."""
        return int(self.stop) - int(self.start) + 1 if self.whole else None

    def wrong(self) -> str | None:
        """Return what is wrong with the ends, `None` when nothing is."""
        if not (math.isfinite(self.start) and math.isfinite(self.stop)):
            return "has an end that is not finite"
        if self.start >= self.stop:
            return "ends where it starts, or before"
        if self.log and self.start <= 0:
            return "starts at zero or below, where there is no logarithm"
        return None

    def draw(self, random: Random) -> float:
        """Return one number of the interval."""
        if self.whole and not self.log:
            return random.randint(int(self.start), int(self.stop))
        if not self.log:
            return self.rounded(random.uniform(self.start, self.stop))
        # An integer stands for the numbers that are rounded to it, also at the ends.
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
