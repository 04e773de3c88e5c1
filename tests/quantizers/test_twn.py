"""TWN's scale is the best one for its codes; its share of zeros under a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.quantizers.rules import build, draw, passed, plane_of

GRANULARITIES = pytest.mark.parametrize("granularity", ["layer", "filter"])


@GRANULARITIES
@pytest.mark.parametrize("factor", [0.7, 0.75, 0.3])
def test_codes_and_scale_are_the_published_formula(factor: float, granularity: str) -> None:
    weight = draw() * torch.linspace(0.5, 2, 5).double().view(-1, 1, 1, 1)
    plane = plane_of(build("twn", weight, factor=factor, granularity=granularity), weight)
    groups = weight.numpy().reshape(5, -1) if granularity == "filter" else weight.numpy().reshape(1, -1)
    scales, expected = [], []
    for group in groups:
        threshold = factor * np.abs(group).mean()
        expected.append(np.where(np.abs(group) > threshold, np.sign(group), 0))
        scales.append(np.abs(group)[np.abs(group) > threshold].mean())
    assert np.array_equal(plane.codes.numpy().reshape(groups.shape), np.array(expected))
    np.testing.assert_allclose(plane.scale.numpy().reshape(-1), scales, rtol=1e-13)
    assert plane.scale.shape == ((5, 1, 1, 1) if granularity == "filter" else ())


@GRANULARITIES
def test_scale_is_the_minimum_of_the_squared_error_for_its_codes(granularity: str) -> None:
    weight = draw(1)
    plane = plane_of(build("twn", weight, granularity=granularity), weight)
    codes, scale = plane.codes.double(), plane.scale

    def error(factor: float) -> torch.Tensor:
        each = (weight - factor * scale * codes).square()
        return each.flatten(1).sum(1) if granularity == "filter" else each.sum()

    # The error is a parabola in the scale: least at 1, and the same on both sides.
    assert (error(1.0) < error(0.999)).all() and (error(1.0) < error(1.001)).all()
    torch.testing.assert_close(error(1 + 1e-3), error(1 - 1e-3), rtol=1e-12, atol=0)
    flat = (weight * codes).flatten(1), codes.square().flatten(1)
    closed = flat[0].sum(1) / flat[1].sum(1) if granularity == "filter" else flat[0].sum() / flat[1].sum()
    torch.testing.assert_close(scale.reshape(closed.shape), closed, rtol=1e-13, atol=0)


@settings(max_examples=60)
@given(arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(-3, 3, width=16)), st.floats(0.1, 2))
def test_scale_is_the_projection_of_any_weight_on_its_codes(weight: np.ndarray, factor: float) -> None:
    plane = plane_of(build("twn", torch.from_numpy(weight), factor=factor), torch.from_numpy(weight))
    codes = plane.codes.numpy().astype(float)
    if not codes.any():
        assert float(plane.scale) == 0
        return
    assert float(plane.scale) == pytest.approx(weight @ codes / (codes @ codes), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("factor", "zeros", "error"), [(0.7, 0.423, 0.1915), (0.75, 0.451, 0.1902)])
def test_zeros_and_error_of_a_million_gaussian_weights_are_the_measured_ones(
    factor: float, zeros: float, error: float
) -> None:
    weight = draw(0, 1_000_000)
    rule = build("twn", weight, factor=factor)
    assert rule.codes(weight).zeros() / 1e6 == pytest.approx(zeros, abs=0.002)
    assert float((weight - rule(weight)).square().mean()) == pytest.approx(error, abs=0.001)


def test_a_weight_at_the_threshold_has_code_zero_and_is_left_out_of_the_scale() -> None:
    # The mean magnitude is 2 and the factor 1/2: the threshold is 1 without rounding.
    weight = torch.tensor([1.0, -1.0, 4.0, -2.0, 0.0, 4.0], dtype=torch.float64)
    plane = plane_of(build("twn", weight, factor=0.5), weight)
    assert plane.codes.tolist() == [0, 0, 1, -1, 0, 1]
    assert float(plane.scale) == pytest.approx(10 / 3, rel=1e-15)


@GRANULARITIES
def test_gradient_passes_straight_through(granularity: str) -> None:
    weight, grad = 3 * draw(), draw(1)
    assert torch.equal(passed(build("twn", weight, granularity=granularity), weight, grad)[1], grad)
