"""TTQ's three gradients against autograd of the written-out expression, and scales that stay positive."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ternlab.quantizers.base import Quantizer
from tests.quantizers.rules import build, draw, grad_of, noisy_steps, passed, plane_of


def with_scales(weight: Tensor, above: float, below: float) -> Quantizer:
    rule = build("ttq", weight, first_scale="one")
    with torch.no_grad():
        rule.get_parameter("positive_scale").fill_(above)
        rule.get_parameter("negative_scale").fill_(below)
    return rule


def written_out(weight: Tensor, above: Tensor, below: Tensor, factor: float = 0.05) -> Tensor:
    """Wp, -Wn or 0 forward; the latent weight enters times Wp, Wn or 1, less its own value."""
    threshold = factor * weight.detach().abs().max()
    up, down = weight.detach() > threshold, weight.detach() < -threshold
    value = above * up - below * down
    passing = torch.where(up, above.detach(), torch.where(down, below.detach(), 1.0)) * weight
    return value + passing - passing.detach()


@pytest.mark.parametrize(("above", "below"), [(0.7, 1.3), (2.0, 0.1), (1.0, 1.0)])
def test_all_three_gradients_are_those_of_the_written_out_expression(above: float, below: float) -> None:
    weight, grad = draw() + 0.1, draw(1)
    rule = with_scales(weight, above, below)
    effective, through = passed(rule, weight, grad)
    leaves = [weight.clone(), torch.tensor(above, dtype=torch.float64), torch.tensor(below, dtype=torch.float64)]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = written_out(*leaves)
    expected.backward(grad)
    torch.testing.assert_close(effective, expected.detach(), rtol=0, atol=1e-15)
    torch.testing.assert_close(through, leaves[0].grad, rtol=1e-14, atol=0)
    for name, leaf in zip(("positive_scale", "negative_scale"), leaves[1:], strict=True):
        torch.testing.assert_close(grad_of(rule.get_parameter(name)), leaf.grad, rtol=1e-12, atol=0)


def test_gradients_of_the_scales_on_a_weight_that_can_be_added_by_hand() -> None:
    weight = torch.tensor([1.0, 0.5, -0.5, -1.0, 0.01, -0.02, 0.0], dtype=torch.float64)
    grad = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0], dtype=torch.float64)
    rule = with_scales(weight, 3.0, 5.0)
    effective, through = passed(rule, weight, grad)
    assert effective.tolist() == [3, 3, -5, -5, 0, 0, 0]
    assert through.tolist() == [3, 6, 20, 40, 16, 32, 64]
    assert float(grad_of(rule.get_parameter("positive_scale"))) == 1 + 2
    assert float(grad_of(rule.get_parameter("negative_scale"))) == -(4 + 8), "minus the sum, unlike a popular port"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_weight_at_the_threshold_has_code_zero(dtype: torch.dtype) -> None:
    weight = torch.tensor([2.0, 0.5, -0.5, -1.0, 0.75], dtype=dtype)
    assert plane_of(build("ttq", weight, factor=0.25), weight).codes.tolist() == [1, 0, 0, -1, 1]


def test_scales_start_from_the_mean_on_their_side_or_from_one() -> None:
    weight = draw() + 0.2
    threshold = 0.05 * float(weight.abs().max())
    mean = plane_of(build("ttq", weight, first_scale="mean"), weight)
    assert float(mean.scale) == pytest.approx(float(weight[weight > threshold].mean()), rel=1e-13)
    assert mean.negative_scale is not None
    assert float(mean.negative_scale) == pytest.approx(-float(weight[weight < -threshold].mean()), rel=1e-13)
    one = plane_of(build("ttq", weight, first_scale="one"), weight)
    assert float(one.scale) == 1 and one.negative_scale is not None and float(one.negative_scale) == 1
    relative = plane_of(build("ttq", weight), weight)
    assert torch.equal(relative.scale, mean.scale) and torch.equal(relative.negative_scale, mean.negative_scale)


def test_relative_scales_are_the_published_rule_on_weights_divided_by_their_mean_magnitude() -> None:
    weight, grad = draw() + 0.1, draw(1)
    threshold = 0.05 * float(weight.abs().max())
    above, below = (float((side * weight)[side * weight > threshold].mean()) for side in (1, -1))
    unit = torch.where(weight < 0, *torch.tensor([below, above], dtype=torch.float64))
    published, relative = with_scales(weight, 0.7, 1.3), build("ttq", weight)
    with torch.no_grad():
        relative.get_parameter("positive_multiple").fill_(0.7)
        relative.get_parameter("negative_multiple").fill_(1.3)
    # Only the codes of the published rule depend on the weights.
    effective, through = passed(published, weight, grad)
    found, passing = passed(relative, weight, grad)
    torch.testing.assert_close(found, effective * unit, rtol=1e-12, atol=0)
    torch.testing.assert_close(passing, through, rtol=1e-12, atol=0)
    for name, size in (("positive", above), ("negative", below)):
        expected = size * grad_of(published.get_parameter(f"{name}_scale"))
        torch.testing.assert_close(grad_of(relative.get_parameter(f"{name}_multiple")), expected, rtol=1e-12, atol=0)


def test_a_state_with_scales_is_not_taken_for_one_with_multiples() -> None:
    with pytest.raises(RuntimeError, match="positive_multiple"):
        build("ttq", draw()).load_state_dict(build("ttq", draw(), first_scale="one").state_dict())


def test_scales_stay_positive_and_codes_stay_put_over_a_thousand_noisy_steps() -> None:
    weight = draw()
    rule = build("ttq", weight, first_scale="mean")
    first = plane_of(rule, weight).codes
    for step in noisy_steps(rule, weight):
        assert (step["scale"] > 0).all() and (step["negative_scale"] > 0).all()
        assert torch.equal(step["codes"], first)


def test_a_step_across_zero_is_reflected_and_its_gradient_turns_with_it() -> None:
    weight, grad = draw(), draw(1)
    ahead, reflected = with_scales(weight, 0.3, 0.4), with_scales(weight, -0.3, -0.4)
    for one, other in zip(passed(ahead, weight, grad), passed(reflected, weight, grad), strict=True):
        assert torch.equal(one, other)
    for name in ("positive_scale", "negative_scale"):
        assert torch.equal(grad_of(reflected.get_parameter(name)), -grad_of(ahead.get_parameter(name)))
        assert grad_of(ahead.get_parameter(name)) != 0


def test_a_scale_at_zero_can_leave_it() -> None:
    weight = draw()
    rule = with_scales(weight, 0.0, 0.0)
    passed(rule, weight, -plane_of(rule, weight).codes.double())
    for name in ("positive_scale", "negative_scale"):
        assert float(grad_of(rule.get_parameter(name))) < 0, "a larger scale would lower the loss"
    plane = plane_of(rule, weight)
    assert plane.scale > 0 and plane.negative_scale is not None and plane.negative_scale > 0
