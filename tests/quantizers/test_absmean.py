"""Absmean is the published rounding of w over its mean magnitude."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.quantizers.rules import build, draw, passed, plane_of


def published(weight: np.ndarray) -> np.ndarray:
    scale = 1 / max(float(np.abs(weight).mean()), 1e-5)
    found: np.ndarray = np.clip(np.round(weight * scale), -1, 1) / scale
    return found


def test_a_fixed_vector_gives_the_published_formula() -> None:
    weight = torch.tensor(
        [0.9, -0.5, 0.08, -0.065, 0.03, 0.13, -0.15, 0.21, -0.019, 0.0, 1.2, -0.11], dtype=torch.float64
    )
    plane = plane_of(build("absmean", weight), weight)
    assert float(plane.scale) == pytest.approx(3.394 / 12, rel=1e-6)  # 3.394 is the sum of the magnitudes.
    assert plane.codes.tolist() == [1, -1, 0, 0, 0, 0, -1, 1, 0, 0, 1, 0]
    np.testing.assert_allclose(build("absmean", weight)(weight), published(weight.numpy()), rtol=1e-14)


@settings(max_examples=80)
@given(arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(-3, 3, width=16)))
def test_any_weight_gives_the_published_formula(weight: np.ndarray) -> None:
    scale = max(float(np.abs(weight).mean()), 1e-5)
    # At a half the two orders of rounding may differ by the last digit.
    if (np.abs(np.abs(weight) / scale - 0.5) < 1e-12).any():
        return
    found = build("absmean", torch.from_numpy(weight))(torch.from_numpy(weight)).numpy()
    np.testing.assert_allclose(found, published(weight), rtol=1e-12)


def test_halves_are_rounded_to_even() -> None:
    weight = torch.tensor([0.5, -0.5, 2.0, -1.0, 1.5, 0.5], dtype=torch.float64)  # The mean magnitude is 1.
    assert plane_of(build("absmean", weight), weight).codes.tolist() == [0, 0, 1, -1, 1, 0]


def test_scale_is_not_below_a_hundred_thousandth() -> None:
    weight = torch.tensor([1e-6, -1e-6, 7e-6, -2e-5], dtype=torch.float64)
    plane = plane_of(build("absmean", weight), weight)
    assert float(plane.scale) == 1e-5
    assert plane.codes.tolist() == [0, 0, 1, -1]
    larger = weight * 10
    assert float(plane_of(build("absmean", larger), larger).scale) == pytest.approx(7.25e-5, rel=1e-12)


def test_zeros_and_error_of_a_million_gaussian_weights_are_the_measured_ones() -> None:
    weight = draw(0, 1_000_000)
    rule = build("absmean", weight)
    assert rule.codes(weight).zeros() / 1e6 == pytest.approx(0.31, abs=0.002)
    assert float((weight - rule(weight)).square().mean()) == pytest.approx(0.263, abs=0.001)


def test_granularity_filter_is_the_rule_for_each_filter_and_the_gradient_passes_straight_through() -> None:
    weight, grad = draw() * torch.tensor([0.1, 1, 10, 0.01, 3], dtype=torch.float64).view(-1, 1, 1, 1), draw(1)
    rule = build("absmean", weight, granularity="filter")
    effective, through = passed(rule, weight, grad)
    assert torch.equal(effective, torch.stack([build("absmean", one)(one) for one in weight]))
    assert torch.equal(through, grad)
