"""SWS and its residual expansion against check values of the authors' program."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.quantizers.rules import build, draw, passed, plane_of
from tests.quantizers.vectors import DTYPES, VECTORS, close

WACV: dict[str, Any] = VECTORS["wacv"]
CASES = [{"weight": WACV["weight"], **case} for case in WACV["cases"]] + [WACV["tie_case"]]


def of_case(case: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Tensor]:
    """Return the rule of a case (one factor: the plain rule) and its weight."""
    weight = torch.tensor(case["weight"], dtype=dtype)
    factors = case["factors"]
    return build("sws", weight, **({"factor": factors[0]} if len(factors) == 1 else {"rel.factors": factors})), weight


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case['weight'])} weights, {case['factors']}")
def test_codes_scales_and_effective_weight_are_those_of_the_authors_program(
    case: dict[str, Any], dtype: torch.dtype
) -> None:
    rule, weight = of_case(case, dtype)
    planes = rule.codes(weight).planes
    assert [plane.codes.tolist() for plane in planes] == case["ternary"]
    close(torch.stack([plane.scale for plane in planes]), case["scales"])
    close(torch.stack([plane.thresholds[1] for plane in planes]), case["thresholds"])
    close(torch.stack([plane.thresholds[0] for plane in planes]), [-value for value in case["thresholds"]])
    close(rule(weight), case["effective_weight"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", WACV["cases"], ids=lambda case: f"{case['factors']}")
def test_gradient_passes_undivided_where_the_weight_is_inside_one(case: dict[str, Any], dtype: torch.dtype) -> None:
    rule, weight = of_case({"weight": WACV["weight"], **case}, dtype)
    grad = draw(1, len(weight), dtype=dtype)
    found = passed(rule, weight, grad)[1]
    summands = len(case["factors"])  # Each summand of an expansion passes the gradient.
    close(found, (summands * grad.double() * torch.tensor(WACV["ste_mask"])).tolist())


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_is_zero_at_one_and_beyond(dtype: torch.dtype) -> None:
    below = float(torch.nextafter(torch.tensor(1.0, dtype=dtype), torch.tensor(0.0, dtype=dtype)))
    weight = torch.tensor([1.0, -1.0, below, -below, 1.5, -3.0, 0.0], dtype=dtype)
    found = passed(build("sws", weight), weight, torch.ones_like(weight))[1]
    assert found.tolist() == [0, 0, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
def test_weight_at_the_threshold_has_code_one_above_and_zero_below_and_counts_in_the_scale(dtype: torch.dtype) -> None:
    # max 2 and factor 1/4: the threshold is 1/2 without rounding.
    weight = torch.tensor([2.0, 0.5, -0.5, 0.25, -1.0, -0.25], dtype=dtype)
    plane = plane_of(build("sws", weight, factor=0.25), weight)
    assert plane.codes.tolist() == [1, 1, 0, 0, -1, 0]
    assert float(plane.scale) == (2 + 0.5 + 0.5 + 1) / 4


def test_each_filter_of_granularity_filter_is_a_layer_of_its_own() -> None:
    weight = draw() * torch.tensor([0.1, 1, 10, 0.01, 3], dtype=torch.float64).view(-1, 1, 1, 1)
    found = build("sws", weight, granularity="filter")(weight)
    assert torch.equal(found, torch.stack([build("sws", one)(one) for one in weight]))
    assert not torch.equal(found, build("sws", weight)(weight))


def test_all_factors_of_the_paper_are_the_default_and_nothing_is_trained() -> None:
    weight = draw()
    rule = build("sws", weight)
    assert not list(rule.parameters())
    assert float(plane_of(rule, weight).thresholds[1]) == pytest.approx(0.05 * float(weight.abs().max()), rel=1e-15)  # type: ignore[index]
