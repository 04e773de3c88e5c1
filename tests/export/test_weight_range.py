"""Scales of int8 weights: exact where 129 levels can be, and never so large that two products leave 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import nn

from ternlab.export.weight_range import filter_scales
from ternlab.quantizers.attach import codes, quantize

HIGHEST_INPUT = 255


def integers(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the weights become."""
    scales = filter_scales(weights)
    assert scales.shape == weights.shape[:1] and scales.dtype == np.float32
    assert np.isfinite(scales).all() and (scales > 0).all()
    return np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))


def relative_error(weights: NDArray[np.float32]) -> float:
    """Return the largest rounding, over the largest weight of the filter."""
    scales = filter_scales(weights)[:, None]
    errors = np.abs(integers(weights) * scales - weights).max(1)
    return float((errors / np.abs(weights).max(1)).max())


def rule_weights(rule: str, **options: object) -> NDArray[np.float32]:
    """Return the first weights that a layer computes with under a rule."""
    torch.manual_seed(0)
    layer = quantize(nn.Linear(200, 12), rule, **options)
    values: NDArray[np.float32] = codes(layer).effective().numpy()
    return values


@given(arrays.arrays(np.float32, (3, 20), elements=st.floats(-1e6, 1e6, width=32)))
def test_no_two_products_leave_16_bits(weights: NDArray[np.float32]) -> None:
    found = integers(weights)
    assert 2 * HIGHEST_INPUT * np.abs(found).max() <= np.iinfo(np.int16).max


@given(arrays.arrays(np.float32, (2, 30), elements=st.floats(-1e6, 1e6, width=32)))
def test_the_rounding_is_half_a_step_of_128_at_most(weights: NDArray[np.float32]) -> None:
    largest = np.abs(weights).max(1)
    errors = np.abs(integers(weights) * filter_scales(weights)[:, None] - weights).max(1)
    # The best range by the mean error may be one a little coarser.
    assert (errors <= largest / 64).all()


@pytest.mark.parametrize("rule", ["tga", "twn", "bwn", "absmean", "sws", "seq"])
def test_ternary_and_binary_weights_are_their_codes(rule: str) -> None:
    weights = rule_weights(rule)
    assert set(np.unique(integers(weights))) <= {-1, 0, 1}
    np.testing.assert_array_equal(integers(weights) * filter_scales(weights)[:, None], weights)
    np.testing.assert_array_equal(integers(weights) == 0, weights == 0)


@pytest.mark.parametrize(
    ("rule", "bits"), [*(("lsq", bits) for bits in (2, 3, 4, 8)), *(("uniform", bits) for bits in range(2, 9))]
)
def test_up_to_seven_bits_are_exact(rule: str, bits: int) -> None:
    error = relative_error(rule_weights(rule, bits=bits))
    if bits < 8:
        assert error < 1e-6
    else:
        assert error <= 1 / 128


@pytest.mark.parametrize("largest", range(1, 65))
def test_every_number_of_levels_up_to_64_is_found(largest: int) -> None:
    random = np.random.default_rng(largest)
    codes_of = random.integers(-largest, largest + 1, (4, 500))
    codes_of[:, :2] = largest, 1
    scale = random.uniform(1e-4, 3, (4, 1))
    np.testing.assert_array_equal(integers((codes_of * scale).astype(np.float32)), codes_of)


def test_two_scales_and_sums_are_nearer_than_in_the_whole_range() -> None:
    for first, second in np.random.default_rng(0).uniform(0.2, 1, (2000, 2)):
        two_scales = np.array([[first, -second, 0, first]], np.float32)
        planes = np.array([[first + second, first - second, first, 0, -second]], np.float32)
        for weights in (two_scales, planes):
            largest = float(np.abs(weights).max())
            plain = np.rint(weights * (64 / largest)) * (largest / 64) - weights
            errors = integers(weights) * filter_scales(weights)[:, None] - weights
            # The weights and scales are float32, so two equally good ranges may differ in the last place.
            assert np.linalg.norm(errors) <= np.linalg.norm(plain) + 1e-6 * largest


def test_a_filter_of_zeros_has_a_scale_that_its_bias_can_use() -> None:
    weights = np.array([[0, 0], [0.5, -0.5], [0.25, 0]], np.float32)
    np.testing.assert_array_equal(filter_scales(weights), np.array([0.25, 0.5, 0.25], np.float32))
    np.testing.assert_array_equal(filter_scales(weights[:1]), np.array([1], np.float32))
