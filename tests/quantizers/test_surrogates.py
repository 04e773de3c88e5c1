"""The three surrogate gradients, with every rule that they can go with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ternlab.quantizers.base import Quantizer
from ternlab.quantizers.surrogates import gradient_factor
from tests.quantizers.rules import build, draw, passed, plane_of

RULES: list[tuple[str, dict[str, Any]]] = [
    ("tga", {}),
    ("tga", {"gradient_correction": False, "stats_grad": False}),
    ("sws", {}),
    ("twn", {"granularity": "filter"}),
    ("ttq", {}),
    ("bwn", {"granularity": "filter"}),
    ("bwn", {"granularity": "layer"}),
    ("absmean", {}),
    *[("lsq", {"bits": bits}) for bits in ("ternary", 2, 3, 4, 8)],
    ("lsq", {"granularity": "filter"}),
    ("seq", {}),
    *[("uniform", {"bits": bits}) for bits in (2, 4, 8)],
]
EVERY_RULE = pytest.mark.parametrize(("name", "options"), RULES, ids=str)
HAVE_RANGE = ("lsq", "seq")


def made(name: str, weight: Tensor, options: dict[str, Any], **surrogate: Any) -> Quantizer:
    return build(name, weight, **options, surrogate=surrogate)


def direct_part(rule: Quantizer, weight: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient that passes straight through; of TGA without the part through mean and deviation."""
    codes = rule.codes(weight).planes[0].codes.to(grad.dtype)
    # With a gradient at right angles to the codes nothing goes through the scale.
    assert abs(float((grad * codes).sum())) < 1e-9
    return passed(rule, weight, grad)[1]


def at_right_angles(grad: Tensor, codes: Tensor) -> Tensor:
    wide = codes.to(grad.dtype)
    return grad - wide * (grad * wide).sum() / wide.square().sum()


@EVERY_RULE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stable_with_amplitude_zero_is_the_plain_rule_bit_for_bit(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    weight, grad = draw(dtype=dtype), draw(1, dtype=dtype)
    plain = {"kind": "clipped"} if name in HAVE_RANGE else {"kind": "straight"}
    one, other = made(name, weight, options, **plain), made(name, weight, options, kind="stable", amplitude=0.0)
    for first, second in zip(passed(one, weight, grad), passed(other, weight, grad), strict=True):
        assert torch.equal(first, second)
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert first.grad is not None and second.grad is not None and torch.equal(first.grad, second.grad)


@EVERY_RULE
def test_no_surrogate_changes_the_effective_weight_or_the_gradients_of_the_parameters(
    name: str, options: dict[str, Any]
) -> None:
    weight, grad = draw(), draw(1)
    found = []
    for surrogate in ({"kind": "straight"}, {"kind": "clipped", "bound": 0.5}, {"kind": "stable"}):
        rule = made(name, weight, options, **surrogate)
        effective, through = passed(rule, weight, grad)
        found.append((effective, [parameter.grad for parameter in rule.parameters()], through))
    for effective, own, through in found[1:]:
        assert torch.equal(effective, found[0][0])
        for one, other in zip(own, found[0][1], strict=True):
            assert one is not None and other is not None and torch.equal(one, other)
        assert not torch.equal(through, found[0][2]), "but the latent weight has another gradient"


@EVERY_RULE
def test_clipped_with_a_bound_passes_the_straight_gradient_inside_it_and_nothing_beyond(
    name: str, options: dict[str, Any]
) -> None:
    weight = draw()
    straight = made(name, weight, options, kind="straight")
    grad = at_right_angles(draw(1), plane_of(straight, weight).codes)
    clipped = made(name, weight, options, kind="clipped", bound=0.8)
    inside = weight.abs() < 0.8
    expected = direct_part(straight, weight, grad) * inside
    torch.testing.assert_close(direct_part(clipped, weight, grad), expected, rtol=1e-12, atol=1e-12)
    assert inside.any() and not inside.all()


@pytest.mark.parametrize("name", HAVE_RANGE)
def test_straight_passes_the_gradient_also_beyond_the_range_of_the_rule(name: str) -> None:
    weight, grad = draw(), draw(1)
    options = {"factor": 0.5}
    assert torch.equal(passed(made(name, weight, options, kind="straight"), weight, grad)[1], grad)
    assert not torch.equal(passed(made(name, weight, options, kind="clipped"), weight, grad)[1], grad)


def levels_and_boundaries(rule: Quantizer, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the levels between the outermost ones (with them) and the boundaries halfway, of a one-scale rule."""
    plane = plane_of(rule, weight)
    if plane.thresholds is not None:
        low, high = (float(value) for value in plane.thresholds)
        middle, width = (low + high) / 2, high - low
        return middle + width * torch.tensor([-1.0, 0, 1], dtype=torch.float64), torch.tensor(
            [low, high], dtype=torch.float64
        )
    levels = torch.tensor(list(plane.alphabet), dtype=torch.float64) * float(plane.scale)
    return levels, (levels[1:] + levels[:-1]) / 2


ONE_SCALE = [rule for rule in RULES if rule[1].get("granularity") != "filter" and rule[0] != "seq"]


@pytest.mark.parametrize("amplitude", [0.21, 0.1])
@pytest.mark.parametrize(("name", "options"), [*ONE_SCALE, ("seq", {"granularity": "layer"})], ids=str)
def test_stable_is_small_at_the_levels_and_one_at_the_boundaries(
    name: str, options: dict[str, Any], amplitude: float
) -> None:
    # The probed weights are scattered over a large layer, so that they do not move its statistics.
    weight = draw(4, 400, 500)
    rule = made(name, weight, options, kind="stable", amplitude=amplitude)
    levels, boundaries = levels_and_boundaries(rule, weight)
    found = rule.assign(weight)
    wave = math.sqrt(2) * math.pi * amplitude
    low = (1 - wave) / (1 + wave)
    assert amplitude != 0.21 or low == pytest.approx(0.035, abs=5e-4)
    for points, expected in ((levels, low), (boundaries, 1.0)):
        factor = _factor_at(rule, weight, points, found)
        torch.testing.assert_close(factor, torch.full_like(factor, expected), rtol=1e-6, atol=1e-6)
    between = _factor_at(rule, weight, torch.linspace(float(levels[0]), float(levels[-1]), 1001).double(), found)
    assert (between >= low - 1e-9).all() and (between <= 1 / low + 1e-9).all()


def _factor_at(rule: Quantizer, weight: Tensor, points: Tensor, found: Any) -> Tensor:
    """Return the surrogate's factor at `points`, with statistics of `weight`; the range of the rule is left out."""
    factor = gradient_factor(rule.options.surrogate, points, None, lambda: rule.position(points, found))
    assert factor is not None and not factor.requires_grad
    return factor


@pytest.mark.parametrize("amplitude", [0.21, 0.05])
@EVERY_RULE
def test_gradient_is_the_plain_one_times_the_published_factor(
    name: str, options: dict[str, Any], amplitude: float
) -> None:
    weight = draw(5)
    plain = made(name, weight, options, **({"kind": "clipped"} if name in HAVE_RANGE else {"kind": "straight"}))
    plane = plane_of(plain, weight)
    grad = at_right_angles(draw(1), plane.codes)
    found = direct_part(made(name, weight, options, kind="stable", amplitude=amplitude), weight, grad)
    # The place among the levels, from codes and scales alone.
    if plane.thresholds is not None:
        low, high = plane.thresholds
        place = ((weight - (low + high) / 2) / (high - low)).clamp(-1, 1)
        nearest = torch.where(weight > high, 1.0, torch.where(weight < low, -1.0, 0.0)).double()
    elif name == "bwn":
        place, nearest = (weight / (2 * plane.scale) + 0.5).clamp(0, 1), (weight >= 0).double()
    else:
        place = (weight / plane.scale).clamp(plane.alphabet[0], plane.alphabet[-1])
        nearest = plane.codes.double()
    wave = math.sqrt(2) * math.pi * amplitude * torch.cos(math.pi * (place + nearest))
    expected = direct_part(plain, weight, grad) * (1 - wave) / (1 + wave)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("amplitude", [-0.01, 0.2251, 0.3])
def test_amplitudes_that_would_turn_the_gradient_round_are_refused(amplitude: float) -> None:
    with pytest.raises(Exception, match=r"quant\.surrogate\.amplitude"):
        build("twn", draw(), surrogate={"kind": "stable", "amplitude": amplitude})
