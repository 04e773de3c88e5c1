"""TGA's forward and backward against the check values of six layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.quantizers.vectors import DTYPES, VECTORS, close, rule

LAYERS = pytest.mark.parametrize("case", VECTORS["layer"], ids=lambda case: str(case["name"]))
MODES = {
    f"{direct}_{through}": {"gradient_correction": direct == "gc", "stats_grad": through == "stats"}
    for direct in ("gc", "nogc")
    for through in ("stats", "detached")
}


def passed(case: dict[str, Any], dtype: torch.dtype, **options: Any) -> tuple[Tensor, Tensor, Any]:
    """Return the effective weight, the latent weight with its gradient, and the rule."""
    weight = torch.tensor(case["weight"], dtype=dtype, requires_grad=True)
    quantizer = rule(weight.detach(), case["delta_raw"], **options)
    effective = quantizer(weight)
    effective.backward(torch.tensor(case["grad_wq"], dtype=dtype))
    return effective, weight, quantizer


@pytest.mark.parametrize("dtype", DTYPES)
@LAYERS
def test_forward_gives_the_expected_codes_scale_and_statistics(case: dict[str, Any], dtype: torch.dtype) -> None:
    effective, weight, quantizer = passed(case, dtype)
    found = quantizer.codes(weight).planes[0]
    assert found.codes.dtype == torch.int8 and found.codes.tolist() == case["ternary"]
    assert effective.dtype == dtype
    close(effective, case["wq"])
    close(found.scale, case["S"])
    close(found.thresholds, [case["mu"] - case["delta_eff"], case["mu"] + case["delta_eff"]])
    statistics = quantizer.statistics(weight)
    expected = {
        "threshold": case["delta_raw"],
        "d": case["delta_eff"] / case["sigma"],
        "mean": case["mu"],
        "sigma": case["sigma"],
        "scale": case["S"],
    }
    assert float((found.codes == 0).double().mean()) == pytest.approx(case["sparsity"])
    assert statistics == pytest.approx(expected, rel=1e-4 if dtype == torch.float32 else 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
@LAYERS
def test_gradient_of_the_weights_in_each_mode(case: dict[str, Any], mode: str, dtype: torch.dtype) -> None:
    _, weight, _ = passed(case, dtype, **MODES[mode])
    assert weight.grad is not None
    close(weight.grad, case["grad_w"][mode])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
@LAYERS
def test_gradient_of_the_threshold_is_the_same_in_each_mode(
    case: dict[str, Any], mode: str, dtype: torch.dtype
) -> None:
    quantizer = passed(case, dtype, **MODES[mode])[2]
    close(quantizer.threshold.grad, case["grad_delta"])


@LAYERS
def test_centered_scale_leaves_the_mean_out_and_keeps_the_codes(case: dict[str, Any]) -> None:
    _, weight, quantizer = passed(case, torch.float64, scale="centered")
    found = quantizer.codes(weight).planes[0]
    assert found.codes.tolist() == case["ternary"]
    close(found.scale, case["S"] - case["mu"])
    close(quantizer.threshold.grad, case["grad_delta"])
    # The mean's share c / n is missing from the gradient.
    expected = torch.tensor(case["grad_w"]["gc_stats"], dtype=torch.float64) - case["sum_g_t"] / weight.numel()
    close(weight.grad, expected.tolist())
