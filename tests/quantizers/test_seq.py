"""SEQ has exactly the levels -2/3, 0 and 2/3 of its range, and the gradient of the written-out expression."""

from __future__ import annotations

import math

import pytest
import torch

from tests.quantizers.rules import build, draw, grad_of, noisy_steps, passed, plane_of

GRANULARITIES = pytest.mark.parametrize("granularity", ["layer", "filter"])


@GRANULARITIES
def test_levels_are_exactly_two_thirds_of_the_range(granularity: str) -> None:
    weight = draw()
    rule = build("seq", weight, granularity=granularity, factor=0.6)
    reach = rule.get_parameter("reach").detach()
    shares = rule(weight).detach() / reach
    torch.testing.assert_close(
        shares.unique(), torch.tensor([-2 / 3, 0, 2 / 3], dtype=torch.float64), rtol=1e-15, atol=0
    )
    expected = (weight > reach / 3).double() - (weight < -reach / 3).double()
    assert torch.equal(plane_of(rule, weight).codes.double(), expected)
    # The published program: round 1.5 w / a, clipped just inside the range.
    published = ((weight / reach).clamp(-0.99, 0.99) * 1.5).round() / 1.5 * reach
    torch.testing.assert_close(rule(weight).detach(), published, rtol=1e-14, atol=0)


@GRANULARITIES
def test_first_range_is_the_largest_magnitude_times_the_factor(granularity: str) -> None:
    weight = draw()
    largest = weight.abs().amax((1, 2, 3), keepdim=True) if granularity == "filter" else weight.abs().max()
    for factor in (1.0, 0.7):
        rule = build("seq", weight, granularity=granularity, factor=factor)
        torch.testing.assert_close(rule.get_parameter("reach").detach(), factor * largest, rtol=1e-15, atol=0)


def test_share_of_zeros_at_first_grows_with_the_size_of_a_gaussian_filter() -> None:
    # The largest of n Gaussians grows with n: the measured 88.7 % are those of several hundred thousand weights, and
    # filters of a convolution (576 weights) start with seven of ten.
    for size, filters, measured in ((576, 400, 0.73), (4608, 100, 0.79), (400_000, 3, 0.887)):
        weight = draw(5, filters, size)
        zeros = build("seq", weight).codes(weight).zeros() / weight.numel()
        expected = float((2 * torch.special.ndtr(weight.abs().amax(1) / 3) - 1).mean())
        assert zeros == pytest.approx(expected, abs=0.003)
        assert zeros == pytest.approx(measured, abs=0.01), size


@GRANULARITIES
@pytest.mark.parametrize("factor", [0.5, 1.4])
def test_gradients_are_those_of_the_written_out_expression(factor: float, granularity: str) -> None:
    weight, grad = draw(), draw(1)
    rule = build("seq", weight, granularity=granularity, factor=factor)
    through = passed(rule, weight, grad)[1]
    latent, reach = weight.clone().requires_grad_(), rule.get_parameter("reach").detach().clone().requires_grad_()
    count = weight.numel() // (5 if granularity == "filter" else 1)
    scaled = reach / math.sqrt(count)
    scaled = scaled + (reach - scaled).detach()
    place = (latent / scaled).clamp(-1, 1)
    rounded = ((place * 1.5).detach().clamp(-1.4, 1.4).round() / 1.5 - place).detach() + place
    # Where the weight is clipped its level is 2/3 of the range, so that this, not 1, is the slope of the range.
    beyond = (latent.detach() / scaled.detach()).abs() > 1
    effective = torch.where(beyond, latent.detach().sign() * 2 / 3 * scaled, rounded * scaled)
    effective.backward(grad)
    torch.testing.assert_close(through, latent.grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(grad_of(rule.get_parameter("reach")), grad_of(reach), rtol=1e-11, atol=1e-14)
    assert beyond.any() == (factor < 1)


def test_range_stays_positive_over_a_thousand_noisy_steps() -> None:
    weight = draw(0, 3, 4)
    rule = build("seq", weight)
    for step in noisy_steps(rule, weight):
        assert (step["scale"] > 0).all()
        assert (step["codes"] * weight >= 0).all(), "no code has the other sign than its weight"


def test_a_step_across_zero_is_reflected_and_its_gradient_turns_with_it() -> None:
    weight, grad = draw(), draw(1)
    ahead, reflected = build("seq", weight), build("seq", weight)
    with torch.no_grad():
        reflected.get_parameter("reach").neg_()
    for one, other in zip(passed(ahead, weight, grad), passed(reflected, weight, grad), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(grad_of(reflected.get_parameter("reach")), -grad_of(ahead.get_parameter("reach")))


def test_largest_weight_of_a_filter_is_beyond_the_range_of_the_gradient_at_first() -> None:
    weight = torch.tensor([[0.3, -0.1, 1.0, 0.2]])
    rule = build("seq", weight)
    through = passed(rule, weight, torch.ones_like(weight))[1]
    assert through.tolist() == [[1, 1, 0, 1]]
