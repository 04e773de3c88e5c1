"""BWN's scale is the best one for its signs; zero counts as positive; the gradient is clipped at one."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.quantizers.rules import build, draw, passed, plane_of


@pytest.mark.parametrize("granularity", ["layer", "filter"])
def test_scale_is_the_mean_magnitude_and_the_minimum_of_the_squared_error(granularity: str) -> None:
    weight = draw() * torch.linspace(0.5, 2, 5).double().view(-1, 1, 1, 1)
    plane = plane_of(build("bwn", weight, granularity=granularity), weight)
    flat = weight.flatten(1) if granularity == "filter" else weight.reshape(1, -1)
    codes, scales = plane.codes.double().reshape(flat.shape), plane.scale.reshape(-1)
    torch.testing.assert_close(scales, flat.abs().mean(1), rtol=1e-14, atol=0)

    def errors(factor: float) -> torch.Tensor:
        return (flat - factor * scales[:, None] * codes).square().sum(1)

    assert (errors(1) < errors(1.001)).all() and (errors(1) < errors(0.999)).all()
    torch.testing.assert_close(errors(1.001), errors(0.999), rtol=1e-12, atol=0)


def test_signs_and_scale_are_the_best_of_all_signs() -> None:
    weight = draw(3, 1, 8)
    rule = build("bwn", weight)
    best = min(
        float((weight - (weight * torch.tensor(signs)).mean().clamp(min=0) * torch.tensor(signs)).square().sum())
        for signs in itertools.product((-1.0, 1.0), repeat=8)
    )
    assert float((weight - rule(weight)).square().sum()) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_zero_has_the_code_one_and_no_code_is_zero(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30]], dtype=dtype)
    plane = plane_of(build("bwn", weight), weight)
    assert plane.codes.tolist() == [[1, 1, 1, -1, 1, -1]]
    assert set(plane.alphabet) == {-1, 1} and plane.thresholds is None


def test_gradient_passes_where_the_weight_is_inside_one_and_is_not_multiplied_by_the_scale() -> None:
    weight = torch.tensor([[0.0, 0.999, -0.999, 1.0, -1.0, 2.0, -5.0]], dtype=torch.float64)
    grad = draw(1, 1, 7)
    found = passed(build("bwn", weight), weight, grad)[1]
    assert torch.equal(found, grad * torch.tensor([[1, 1, 1, 0, 0, 0, 0]]))
    rule = build("bwn", weight)
    assert not list(rule.parameters())


def test_place_among_the_levels_is_computed_in_float32() -> None:
    weight = draw(0, 8, 8, dtype=torch.bfloat16)
    rule = build("bwn", weight, granularity="layer")
    assert rule.position(weight, rule.assign(weight)).dtype == torch.float32
