"""Numbers of an interval."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.sweeps.interval import Interval

ENDS = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


@given(start=ENDS, length=st.floats(1e-6, 1e6), seed=st.integers(0, 2**32), position=st.floats(0, 1))
def test_a_drawn_number_is_inside_and_is_typed_exactly(start: float, length: float, seed: int, position: float) -> None:
    between = Interval(start, start + length)
    if between.wrong():
        return
    for value in (between.draw(Random(seed)), between.rounded(start + position * length)):
        assert between.start <= value <= between.stop
        assert float(repr(value)) == value
    # Rounding moves a number by less than a part in ten thousand of the interval.
    assert abs(between.rounded(start + position * length) - (start + position * length)) <= length * 1e-4


@given(start=st.floats(1e-12, 1e3), factor=st.floats(1.001, 1e9), seed=st.integers(0, 2**32))
def test_numbers_uniform_in_their_logarithm(start: float, factor: float, seed: int) -> None:
    between = Interval(start, start * factor, log=True)
    random = Random(seed)
    for _ in range(5):
        value = between.draw(random)
        assert between.start <= value <= between.stop
        assert between.rounded(value) == value


def test_as_many_numbers_of_each_decade_and_of_each_part() -> None:
    random = Random(0)
    log = [Interval(1e-4, 1e-1, log=True).draw(random) for _ in range(3000)]
    counts = [sum(math.floor(math.log10(value)) == decade for value in log) for decade in (-4, -3, -2)]
    assert all(900 < count < 1100 for count in counts), counts
    flat = [Interval(0, 3).draw(random) for _ in range(3000)]
    assert all(900 < sum(math.floor(value) == part for value in flat) < 1100 for part in (0, 1, 2))


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_include_both_ends(log: bool) -> None:
    between = Interval(1, 4, log=log, whole=True)
    random = Random(1)
    found = [between.draw(random) for _ in range(400)]
    assert set(found) == {1, 2, 3, 4}
    assert all(type(value) is int for value in found)
    assert between.size == 4
    if log:
        assert found.count(1) > found.count(2) > found.count(4)


def test_few_digits_are_typed() -> None:
    assert Interval(0.02, 0.2).rounded(0.0123456789 + 0.02) == 0.03235
    assert Interval(1e-4, 1e-1, log=True).rounded(0.000123456789) == 0.00012346
    assert Interval(1000.001, 1000.002).rounded(1000.00123456789) == 1000.00123457


@pytest.mark.parametrize(
    ("between", "says"),
    [
        (Interval(1, 1), "greater than its start"),
        (Interval(2, 1), "greater than its start"),
        (Interval(0, 1, log=True), "above 0 for a log scale"),
        (Interval(-1, 1, log=True), "above 0 for a log scale"),
        (Interval(0, math.inf), "not finite"),
        (Interval(math.nan, 1), "not finite"),
    ],
)
def test_ends_that_make_no_interval(between: Interval, says: str) -> None:
    assert says in (between.wrong() or "")
    assert Interval(0, 1).wrong() is None
