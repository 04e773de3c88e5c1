"""Uniform quantization is numpy's rounding, and within half a step of every weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.quantizers.rules import build, draw, passed, plane_of

BITS = range(2, 9)
WEIGHTS = arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(-100, 100, allow_subnormal=False))


@settings(max_examples=150)
@given(WEIGHTS, st.sampled_from(BITS))
def test_every_weight_is_within_half_a_step_of_its_level(weight: np.ndarray, bits: int) -> None:
    found = build("uniform", torch.from_numpy(weight), bits=bits)(torch.from_numpy(weight)).numpy()
    step = np.abs(weight).max() / (2 ** (bits - 1) - 1)
    assert (np.abs(found - weight) <= step / 2 * (1 + 1e-9) + 1e-290).all()


@pytest.mark.parametrize("granularity", ["layer", "filter"])
@pytest.mark.parametrize("bits", BITS)
def test_codes_and_scale_are_those_of_numpy(bits: int, granularity: str) -> None:
    weight = draw() * torch.linspace(0.5, 2, 5).double().view(-1, 1, 1, 1)
    highest = 2 ** (bits - 1) - 1
    flat = weight.numpy().reshape(5 if granularity == "filter" else 1, -1)
    step = np.abs(flat).max(1, keepdims=True) / highest
    plane = plane_of(build("uniform", weight, bits=bits, granularity=granularity), weight)
    assert np.array_equal(plane.codes.numpy().reshape(flat.shape), np.round(flat / step))
    np.testing.assert_allclose(plane.scale.numpy().reshape(-1), step[:, 0], rtol=1e-15)
    assert plane.alphabet == range(-highest, highest + 1) and plane.thresholds is None


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_largest_weight_is_met_exactly_and_every_level_is_reached(dtype: torch.dtype, bits: int) -> None:
    highest = 2 ** (bits - 1) - 1
    weight = torch.linspace(-highest, highest, 20 * highest + 1, dtype=dtype) / 8
    plane = plane_of(build("uniform", weight, bits=bits), weight)
    assert plane.codes.unique().tolist() == list(plane.alphabet)
    assert float(plane.effective().max()) == highest / 8 and float(plane.effective().min()) == -highest / 8


def test_gradient_passes_straight_through() -> None:
    weight, grad = draw(), draw(1)
    assert torch.equal(passed(build("uniform", weight, bits=3), weight, grad)[1], grad)
