"""Means and intervals against scipy.stats, another program's way to the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ternlab.core.statistics import half_widths, paired, summary

VALUES = st.floats(-100, 100).map(lambda value: round(value, 6))


def test_known_data() -> None:
    # Three seeds; t(0.975, 2) = 4.302653 from any printed table.
    found = summary([91.0, 92.0, 94.0])
    assert found.n == 3
    assert found.mean == pytest.approx(92.33333333333333)
    assert found.std == pytest.approx(1.5275252316519468)
    assert found.half_width == pytest.approx(4.302653 * 1.5275252316519468 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == (
        pytest.approx(found.mean - found.half_width),
        pytest.approx(found.mean + found.half_width),
    )


@given(st.lists(VALUES, min_size=2, max_size=30))
def test_as_scipy_has_it(values: list[float]) -> None:
    found = summary(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if np.std(values) > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-8), pytest.approx(high, abs=1e-8))


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=20))
def test_a_paired_difference_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    first, second = (dict(enumerate(side)) for side in zip(*pairs, strict=True))
    found = paired(first, {**second, 99: 1.0})
    assert found.n == len(pairs)
    differences = np.array(list(first.values())) - np.array(list(second.values()))
    assert found.mean == pytest.approx(differences.mean(), abs=1e-9)
    if differences.std() > 1e-6:
        interval = stats.ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
        assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_one_value_has_no_spread() -> None:
    found = summary([3.5])
    assert (found.n, found.mean, found.std, found.low, found.high, found.half_width) == (1, 3.5, *[None] * 4)


def test_no_values() -> None:
    assert summary([]) == paired({0: 1.0}, {1: 1.0})
    assert summary([]).mean is None and summary([]).n == 0


def test_half_widths_of_many_groups() -> None:
    n, deviation = np.array([0, 1, 2, 5, 100]), np.array([np.nan, np.nan, 1.0, 2.0, 0.0])
    found = half_widths(n, deviation)
    assert np.isnan(found[:2]).all()
    expected = [
        stats.t.ppf(0.975, count - 1) * sd / math.sqrt(count) for count, sd in zip(n[2:], deviation[2:], strict=True)
    ]
    np.testing.assert_allclose(found[2:], expected, rtol=1e-12)
