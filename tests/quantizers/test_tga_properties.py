"""What holds for TGA whatever the weights are."""

from __future__ import annotations

import itertools
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.quantizers.vectors import rule

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
SHAPES = [(1,), (2,), (7,), (1, 1), (3, 4), (5, 2, 3), (2, 3, 1, 5), (4, 1, 3, 3), (16, 8, 3, 3)]
KINDS = ["gaussian", "uniform", "heavy", "few levels", "one outlier"]


@st.composite
def weights(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = tuple(DTYPES)) -> Tensor:
    """Draw a weight: shape, dtype, distribution, mean and size."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    shape, kind = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(KINDS))
    weight = torch.randn(shape, dtype=torch.float64)
    if kind == "uniform":
        weight = torch.rand(shape, dtype=torch.float64) - 0.5
    elif kind == "heavy":
        weight = weight**5
    elif kind == "few levels":
        weight = weight.round()
    elif kind == "one outlier":
        weight.view(-1)[0] = 100.0
    weight = weight * draw(st.sampled_from([1.0, 0.05, 1e-3, 30.0])) + draw(st.sampled_from([0.0, 0.0, 0.01, -0.3]))
    return weight.to(draw(st.sampled_from(dtypes)))


THRESHOLDS = st.sampled_from([0.0, 0.05, 0.3, 1.0, 4.0])
SCALES = st.sampled_from(["tga", "centered"])
PROPERTY = settings(max_examples=80)


@PROPERTY
@given(weight=weights(), init=THRESHOLDS, scale=SCALES)
def test_effective_weight_has_three_levels_and_is_bit_equal_to_forward(weight: Tensor, init: float, scale: str) -> None:
    quantizer = rule(weight, scale=scale, threshold={"init": init, "unit": "sigma"})
    forward, found = quantizer(weight), quantizer.codes(weight).planes[0]
    assert forward.dtype == weight.dtype and forward.shape == weight.shape
    assert found.codes.dtype == torch.int8 and found.codes.shape == weight.shape
    assert set(found.codes.unique().tolist()) <= {-1, 0, 1}
    assert found.scale.dtype == weight.dtype and found.scale.ndim == 0
    assert torch.equal(found.effective(), forward)
    assert found.effective().dtype == weight.dtype
    assert len(forward.unique()) <= 3
    assert found.scale > 0 and found.scale.isfinite()


@PROPERTY
@given(weight=weights(), init=THRESHOLDS)
def test_sign_of_the_code_says_on_which_side_of_the_thresholds_the_weight_is(weight: Tensor, init: float) -> None:
    found = rule(weight, threshold={"init": init, "unit": "sigma"}).codes(weight).planes[0]
    low, high = found.thresholds
    assert low <= high
    wide = weight.to(found.thresholds.dtype)
    assert found.thresholds.dtype == (torch.float64 if weight.dtype == torch.float64 else torch.float32)
    assert torch.equal(found.codes == 1, wide > high)
    assert torch.equal(found.codes == -1, wide < low)


@PROPERTY
@given(weight=weights(), init=THRESHOLDS)
def test_centered_scale_is_odd_in_the_weights(weight: Tensor, init: float) -> None:
    options = {"scale": "centered", "threshold": {"init": init, "unit": "sigma"}}
    one, other = (rule(side, **options).codes(side).planes[0] for side in (weight, -weight))
    assert torch.equal(one.codes, -other.codes)
    assert torch.equal(one.scale, other.scale)


@PROPERTY
@given(weight=weights(), init=THRESHOLDS, scale=SCALES, power=st.integers(-40, 40))
def test_weights_and_threshold_times_a_power_of_two_give_the_same_codes_and_the_scale_times_it(
    weight: Tensor, init: float, scale: str, power: int
) -> None:
    threshold = init * float(weight.float().std()) if weight.numel() > 1 else init
    found = rule(weight, threshold, scale=scale).codes(weight).planes[0]
    times = rule(weight * 2.0**power, threshold * 2.0**power, scale=scale).codes(weight * 2.0**power).planes[0]
    assert torch.equal(times.codes, found.codes)
    if weight.any():  # Of nothing but zeros the deviation is the smallest one that is allowed.
        assert torch.equal(times.scale, found.scale * 2.0**power)


@PROPERTY
@given(weight=weights(), init=THRESHOLDS, scale=SCALES)
def test_same_weight_gives_the_same_bits(weight: Tensor, init: float, scale: str) -> None:
    bits = []
    for _ in range(2):
        latent = weight.clone().requires_grad_()
        quantizer = rule(weight, scale=scale, threshold={"init": init, "unit": "sigma"})
        out = quantizer(latent)
        out.backward(weight)
        assert latent.grad is not None and quantizer.threshold.grad is not None
        bits.append((out.detach(), latent.grad, quantizer.threshold.grad))
    assert all(torch.equal(one, other) for one, other in zip(*bits, strict=True))


SIZES = [0.0, 1.0, -0.1, 0.3, -1 / 3, 1e30, -1e30, 1e-30, -1e-30]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (7,), (12, 3, 3, 3), (1000, 37)])
def test_constant_and_single_weights_give_codes_zero_and_finite_gradients(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    for size, scale, init in itertools.product(SIZES, ("tga", "centered"), (0.05, 0.0)):
        weight = torch.full(shape, size, dtype=dtype, requires_grad=True)
        quantizer = rule(weight.detach(), scale=scale, threshold={"init": init})
        out = quantizer(weight)
        out.backward(torch.ones_like(out))
        assert not out.any(), (size, scale, init)
        found = quantizer.codes(weight).planes[0]
        assert not found.codes.any() and found.scale > 0 and found.scale.isfinite(), (size, scale, init)
        for grad in (weight.grad, quantizer.threshold.grad):
            assert grad is not None and grad.isfinite().all(), (size, scale, init)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e30, 1e-30])
@pytest.mark.parametrize("gradient_correction", [True, False])
def test_huge_and_tiny_weights_are_quantized_as_weights_of_one(
    size: float, dtype: torch.dtype, gradient_correction: bool
) -> None:
    torch.manual_seed(0)
    unit = torch.randn(16, 3, 3, 3, dtype=torch.float64)
    grad = torch.randn_like(unit).to(dtype)
    results = []
    for times in (1.0, size):
        weight = (unit * times).to(dtype).requires_grad_()
        quantizer = rule(weight.detach(), gradient_correction=gradient_correction, threshold={"unit": "sigma"})
        out = quantizer(weight)
        out.backward(grad)
        assert out.isfinite().all() and weight.grad is not None and weight.grad.isfinite().all()
        assert quantizer.threshold.grad is not None and quantizer.threshold.grad.isfinite()
        direct = 1.0 if gradient_correction else times
        results.append((out.double() / times, quantizer.threshold.grad.double(), weight.grad.double() / direct))
    relative = 0.02 if dtype == torch.bfloat16 else 1e-4
    for one, other in itertools.islice(zip(*results, strict=True), 3 if gradient_correction else 2):
        torch.testing.assert_close(other, one, rtol=relative, atol=relative)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_stays_positive_when_the_mean_is_far_below_zero_and_warns_once(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    weight = (torch.randn(8, 4, 3, 3) * 0.1 - 5).to(dtype).requires_grad_()
    quantizer = rule(weight.detach(), 0.05)
    out = quantizer(weight)
    out.backward(torch.ones_like(out))
    found = quantizer.codes(weight).planes[0]
    assert found.scale > 0
    assert torch.equal(found.effective(), out)
    assert found.codes.unique().tolist() == [-1, 0, 1]
    assert weight.grad is not None and weight.grad.isfinite().all()
    # A scale that is held has no slope.
    assert quantizer.threshold.grad is not None and quantizer.threshold.grad == 0
    assert torch.equal(weight.grad, torch.ones_like(weight))
    with caplog.at_level(logging.WARNING):
        statistics = [quantizer.statistics(weight) for _ in range(3)]
    assert statistics[0]["scale"] > 0
    assert len(caplog.records) == 1
    assert "-5" in caplog.text


def test_no_warning_while_the_scale_is_above_zero_nor_with_the_centered_scale(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 4, 3, 3) * 0.1
    with caplog.at_level(logging.WARNING):
        rule(weight).statistics(weight)
        rule(weight, scale="centered").statistics(weight - 5)
    assert not caplog.records


def test_weights_that_are_not_numbers_are_not_hidden() -> None:
    # The loss must become NaN, or a diverged run would go on.
    for value in (float("nan"), float("inf"), -float("inf")):
        weight = torch.ones(3, 4)
        quantizer = rule(weight, 0.05)
        weight[1, 1] = value
        assert quantizer(weight).isnan().any()


@pytest.mark.parametrize(("dtype", "deviation"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_a_deviation_far_below_the_mean_is_still_a_deviation(dtype: torch.dtype, deviation: float) -> None:
    torch.manual_seed(0)
    weight = (1 + deviation * torch.randn(20, 30, dtype=torch.float64)).to(dtype)
    quantizer = rule(weight, deviation, scale="centered")
    found = quantizer.codes(weight).planes[0]
    assert quantizer.statistics(weight)["sigma"] == pytest.approx(float(weight.double().std()), rel=1e-3)
    assert 0.6 < float((found.codes == 0).double().mean()) < 0.76, "68 % of a Gaussian lie within one deviation"
    assert found.codes.unique().tolist() == [-1, 0, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("most", [3, 5, 7, 11, 13, 21, 53])
def test_a_weight_exactly_on_a_threshold_has_code_zero(most: int, dtype: torch.dtype) -> None:
    # Mean 1 and thresholds 0 and 2 have no rounding error, and neither may the statistics.
    weight = torch.tensor([most, 2 - most, 2, 0, 1, 3, -1, 0, 2], dtype=dtype)
    quantizer = rule(weight, 1.0)
    found = quantizer.codes(weight).planes[0]
    assert found.thresholds.tolist() == [0.0, 2.0]
    assert found.codes.tolist() == [1, -1, 0, 0, 0, 1, -1, 0, 0]
