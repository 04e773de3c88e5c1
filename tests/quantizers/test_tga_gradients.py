"""TGA's gradients against finite differences of its own scale, the codes held fixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ternlab.quantizers.tga import TGA
from tests.quantizers.vectors import rule

STEP = 1e-6


def layer(mean: float = 0.02) -> tuple[Tensor, Tensor]:
    """Return a weight and the gradient of a loss that is linear in the effective weight."""
    torch.manual_seed(1)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64) * 0.1 + mean
    return weight, torch.randn_like(weight)


def loss(quantizer: TGA, weight: Tensor, codes: Tensor, grad: Tensor) -> float:
    """Return the loss with the scale of `weight` and the given codes."""
    return float((grad * codes * quantizer.codes(weight).planes[0].scale).sum())


@pytest.mark.parametrize("scale", ["tga", "centered"])
@pytest.mark.parametrize("threshold", [0.03, -0.03, 0.1, 0.25])
def test_gradient_of_the_threshold_is_the_slope_of_the_loss(threshold: float, scale: str) -> None:
    weight, grad = layer()
    quantizer = rule(weight, threshold, scale=scale)
    quantizer(weight).backward(grad)
    codes = quantizer.codes(weight).planes[0].codes
    ends = [loss(rule(weight, threshold + side, scale=scale), weight, codes, grad) for side in (STEP, -STEP)]
    assert quantizer.threshold.grad is not None
    assert float(quantizer.threshold.grad) == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=1e-7)


@pytest.mark.parametrize("threshold", [0.03, 0.1, 5.0])
@pytest.mark.parametrize("gradient_correction", [True, False])
@pytest.mark.parametrize("scale", ["tga", "centered"])
def test_gradient_of_the_weights_is_the_direct_part_and_the_slope_through_mean_and_deviation(
    scale: str, gradient_correction: bool, threshold: float
) -> None:
    weight, grad = layer()
    quantizer = rule(weight, threshold, scale=scale, gradient_correction=gradient_correction)
    latent = weight.clone().requires_grad_()
    quantizer(latent).backward(grad)
    # A threshold beyond 3 sigma keeps its bound fixed in the backward pass: freeze it for the slope too.
    frozen = rule(weight, min(threshold, 3 * float(weight.std())), scale=scale)
    found = frozen.codes(weight).planes[0]
    slope = torch.empty_like(weight)
    for index in range(weight.numel()):
        ends = []
        for side in (STEP, -STEP):
            moved = weight.clone()
            moved.view(-1)[index] += side
            mean = moved.mean() if scale == "tga" else 0.0
            sigma = moved.std()
            d = float(found.thresholds[1] - found.thresholds[0]) / 2 / float(sigma)
            density = torch.exp(torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(d, dtype=torch.float64)))
            tail = 0.5 * torch.erfc(torch.tensor(d / 2**0.5, dtype=torch.float64))
            ends.append(float((grad * found.codes * (mean + sigma * density / tail)).sum()))
        slope.view(-1)[index] = (ends[0] - ends[1]) / (2 * STEP)
    direct = grad if gradient_correction else grad * found.scale
    torch.testing.assert_close(latent.grad, direct + slope, rtol=0, atol=1e-8)


def test_without_stats_grad_the_gradient_passes_straight_through() -> None:
    weight, grad = layer()
    latent = weight.clone().requires_grad_()
    rule(weight, 0.05, stats_grad=False)(latent).backward(grad)
    assert latent.grad is not None and torch.equal(latent.grad, grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threshold_beyond_three_deviations_has_no_gradient_and_the_bounded_forward(dtype: torch.dtype) -> None:
    weight, grad = (tensor.to(dtype) for tensor in layer())
    weight[0, 0, 0, 0] = 2.0  # One code is not 0, or no threshold would have a gradient.
    bound = 3 * float(weight.std())
    beyond, inside = rule(weight, 1.01 * bound), rule(weight, 0.99 * bound)
    for quantizer in (beyond, inside):
        quantizer(weight).backward(grad)
    assert float(beyond.threshold.grad) == 0
    assert float(inside.threshold.grad) != 0
    assert float(beyond.codes(weight).planes[0].thresholds.diff()) == pytest.approx(2 * bound, rel=1e-6)


def test_negative_threshold_equals_the_positive_one_with_the_gradient_flipped() -> None:
    weight, grad = layer()
    gradients = []
    outputs = []
    for threshold in (0.07, -0.07):
        quantizer = rule(weight, threshold)
        outputs.append(quantizer(weight))
        outputs[-1].backward(grad)
        gradients.append(float(quantizer.threshold.grad))
    assert torch.equal(outputs[0], outputs[1])
    assert gradients[0] == -gradients[1] != 0
