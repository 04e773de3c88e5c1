"""The closed forms of the truncated Gaussian against check values and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ternlab.quantizers.gaussian import inverse_mills, tail_mean
from tests.quantizers.vectors import DTYPES, VECTORS, close


def exact(d: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = np.exp(norm.logpdf(d) - norm.logsf(d))
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", ["tga", "centered"])
@pytest.mark.parametrize("case", VECTORS["scale"], ids=lambda case: f"mu={case['mu']},delta={case['delta']}")
def test_scale_and_its_derivatives_are_the_published_ones(
    case: dict[str, float], scale: str, dtype: torch.dtype
) -> None:
    mean, deviation, threshold = (
        torch.tensor(case[name], dtype=dtype, requires_grad=True) for name in ("mu", "sigma", "delta")
    )
    value = tail_mean(mean if scale == "tga" else mean * 0, deviation, threshold)
    value.backward()
    close(value, case[f"S_{scale}"])
    assert mean.grad is not None and deviation.grad is not None and threshold.grad is not None
    close(threshold.grad, case["dS_ddelta"])
    close(deviation.grad, case["dS_dsigma"])
    close(mean.grad, case["dS_dmu"] if scale == "tga" else 0.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (3.0, 40.0), (40.0, 1e4), (-1.0, 0.0)])
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_inverse_mills_keeps_its_digits_also_in_the_far_tail(
    dtype: torch.dtype, relative: float, low: float, high: float
) -> None:
    d = torch.linspace(low, high, 3001, dtype=torch.float64).to(dtype)
    expected = torch.from_numpy(exact(d.double().numpy()))
    # The difference of two logarithms of about d^2 / 2 has lost its own digits there; the asymptotic series has not.
    x = d.double()
    expected = torch.where(x > 40, x + 1 / x - 2 / x**3 + 10 / x**5 - 74 / x**7, expected)
    torch.testing.assert_close(inverse_mills(d).double(), expected, rtol=relative, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slope_of_inverse_mills_is_that_of_its_values(dtype: torch.dtype) -> None:
    d = torch.linspace(0, 3, 301, dtype=dtype, requires_grad=True)
    inverse_mills(d).sum().backward()
    assert d.grad is not None
    at, step = d.detach().double().numpy(), 1e-5
    slope = (exact(at + step) - exact(at - step)) / (2 * step)
    torch.testing.assert_close(
        d.grad.double(), torch.from_numpy(slope), rtol=1e-8 if dtype == torch.float64 else 5e-6, atol=0
    )


def test_inverse_mills_passes_gradcheck_with_any_shape() -> None:
    torch.manual_seed(0)
    d = (3 * torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(inverse_mills, (d,))


@settings(max_examples=50)
@given(mean=st.floats(-1, 1), deviation=st.floats(1e-3, 10), ratio=st.floats(0, 3))
def test_tail_mean_lies_beyond_the_threshold_and_moves_with_the_mean(
    mean: float, deviation: float, ratio: float
) -> None:
    at = [torch.tensor(value, dtype=torch.float64) for value in (mean, deviation, ratio * deviation)]
    value = float(tail_mean(*at))
    assert value > mean + ratio * deviation
    assert value == pytest.approx(mean + float(tail_mean(torch.zeros_like(at[0]), *at[1:])), abs=1e-12)
    # The mean of the tail, by integration.
    points = np.linspace(ratio, ratio + 12, 20001)
    density = norm.pdf(points)
    assert (value - mean) / deviation == pytest.approx(
        float(np.trapezoid(points * density, points) / np.trapezoid(density, points)), rel=1e-5
    )
