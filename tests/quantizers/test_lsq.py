"""LSQ's gradients, first step and range for every number of bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ternlab.quantizers.base import Quantizer
from tests.quantizers.rules import build, draw, grad_of, noisy_steps, passed, plane_of

RANGES: dict[object, tuple[int, int]] = {"ternary": (-1, 1), 2: (-2, 1), 3: (-4, 3), 4: (-8, 7), 8: (-128, 127)}
BITS = pytest.mark.parametrize("bits", RANGES)


def at_step(rule: Quantizer, step: float) -> float:
    with torch.no_grad():
        rule.get_parameter("step").fill_(step)
    return step


@BITS
@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_forward_and_gradients_are_the_published_piecewise_form(bits: object, spread: float) -> None:
    (low, high), weight, grad = RANGES[bits], draw(), draw(1)
    rule = build("lsq", weight, bits=bits)
    step = at_step(rule, spread / high)
    effective, through = passed(rule, weight, grad)
    v, g = weight.numpy() / step, grad.numpy()
    slope = np.where(v <= low, low, np.where(v >= high, high, np.round(v) - v))
    np.testing.assert_allclose(effective.numpy(), step * np.round(np.clip(v, low, high)), rtol=1e-14)
    np.testing.assert_array_equal(through.numpy(), np.where((v > low) & (v < high), g, 0))
    expected = (g * slope).sum() / math.sqrt(weight.numel() * high)
    assert float(grad_of(rule.get_parameter("step"))) == pytest.approx(expected, rel=1e-11)


@BITS
def test_gradients_are_autograd_of_the_written_out_expression(bits: object) -> None:
    (low, high), weight, grad = RANGES[bits], draw(2), draw(3)
    rule = build("lsq", weight, bits=bits)
    value = at_step(rule, 0.8 / high)
    through = passed(rule, weight, grad)[1]
    latent, step = weight.clone().requires_grad_(), torch.tensor(value, dtype=torch.float64).requires_grad_()
    scaled = step * (weight.numel() * high) ** -0.5
    scaled = scaled + (step - scaled).detach()
    place = (latent / scaled).clamp(low, high)
    (scaled * (place + (place.round() - place).detach())).backward(grad)
    torch.testing.assert_close(through, latent.grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(grad_of(rule.get_parameter("step")), grad_of(step), rtol=1e-11, atol=0)


@BITS
def test_at_the_ends_of_the_range_the_weight_has_no_gradient_and_the_step_has_that_of_the_code(bits: object) -> None:
    low, high = RANGES[bits]
    weight = torch.tensor([low, high, low - 1, high + 1], dtype=torch.float64)
    rule = build("lsq", weight, bits=bits)
    at_step(rule, 1.0)
    for index, code in enumerate((low, high, low, high)):
        grad = torch.zeros(4).double()
        grad[index] = 1.0
        assert not passed(rule, weight, grad)[1].any()
        assert float(grad_of(rule.get_parameter("step"))) == pytest.approx(code / math.sqrt(4 * high), rel=1e-13)


@BITS
def test_first_step_is_twice_the_mean_magnitude_over_the_root_of_the_highest_code(bits: object) -> None:
    weight = draw()
    rule = build("lsq", weight, bits=bits)
    expected = 2 * float(weight.abs().mean()) / math.sqrt(RANGES[bits][1])
    assert float(rule.get_parameter("step").detach()) == pytest.approx(expected, rel=1e-14)
    tripled = build("lsq", weight, bits=bits, factor=3.0)
    assert float(tripled.get_parameter("step").detach()) == pytest.approx(3 * expected, rel=1e-14)


@BITS
def test_alphabet_is_that_of_the_bits_and_is_used_to_its_ends(bits: object) -> None:
    low, high = RANGES[bits]
    weight = torch.linspace(-200, 200, 4001).double()
    rule = build("lsq", weight, bits=bits)
    at_step(rule, 1.0)
    plane = plane_of(rule, weight)
    assert plane.codes.unique().tolist() == list(plane.alphabet) == list(range(low, high + 1))
    assert (plane.thresholds is not None) == (bits == "ternary")


@pytest.mark.parametrize("bits", ["ternary", 4])
def test_each_filter_has_a_step_of_its_own_with_the_gradient_scale_of_its_weights(bits: object) -> None:
    weight, grad = draw() * torch.tensor([0.1, 1, 10, 0.01, 3], dtype=torch.float64).view(-1, 1, 1, 1), draw(1)
    rule = build("lsq", weight, bits=bits, granularity="filter")
    effective, through = passed(rule, weight, grad)
    assert rule.get_parameter("step").shape == (5, 1, 1, 1)
    for index, one in enumerate(weight):
        alone = build("lsq", one, bits=bits)
        parts = passed(alone, one, grad[index])
        torch.testing.assert_close(effective[index], parts[0], rtol=1e-14, atol=0)
        torch.testing.assert_close(through[index], parts[1], rtol=1e-14, atol=0)
        torch.testing.assert_close(
            grad_of(rule.get_parameter("step"))[index].reshape(()),
            grad_of(alone.get_parameter("step")),
            rtol=1e-11,
            atol=0,
        )


@BITS
@pytest.mark.parametrize("granularity", ["layer", "filter"])
def test_step_stays_positive_over_a_thousand_noisy_steps(bits: object, granularity: str) -> None:
    weight = draw(0, 3, 4)
    rule = build("lsq", weight, bits=bits, granularity=granularity)
    for step in noisy_steps(rule, weight):
        assert (step["scale"] > 0).all()
        assert (step["codes"] * weight >= 0).all(), "no code has the other sign than its weight"


def test_a_step_across_zero_is_reflected_and_its_gradient_turns_with_it() -> None:
    weight, grad = draw(), draw(1)
    ahead, reflected = build("lsq", weight), build("lsq", weight)
    at_step(ahead, 0.6), at_step(reflected, -0.6)
    for one, other in zip(passed(ahead, weight, grad), passed(reflected, weight, grad), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(grad_of(reflected.get_parameter("step")), -grad_of(ahead.get_parameter("step")))
