"""Residual expansion: one summand is the plain rule, several are one convolution with the summed weight."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from ternlab.core.errors import SettingsError
from ternlab.quantizers.attach import codes, latent_weight, quantize
from ternlab.quantizers.residual import Residual
from tests.quantizers.rules import EXPANDED_FACTOR, TERNARY_RULES, build, draw, passed

EVERY_RULE = pytest.mark.parametrize("name", TERNARY_RULES)
FACTOR_OF = {"tga": "threshold.init"}


@EVERY_RULE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_summand_is_the_plain_rule_with_that_factor_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    weight, grad, options = draw(dtype=dtype), draw(1, dtype=dtype), TERNARY_RULES[name]
    factor = EXPANDED_FACTOR[name]
    plain = build(name, weight, **options, **{FACTOR_OF.get(name, "factor"): factor})
    expanded = build(name, weight, **options, **{"rel.factors": [factor]})
    assert isinstance(expanded, Residual) and not isinstance(plain, Residual)
    for one, other in zip(passed(plain, weight, grad), passed(expanded, weight, grad), strict=True):
        assert torch.equal(one, other)
    assert len(list(plain.parameters())) == len(list(expanded.parameters()))
    for one, other in zip(plain.parameters(), expanded.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)
    assert not torch.equal(expanded(weight), build(name, weight, **options)(weight)), "the factor is not the default"


@EVERY_RULE
def test_codes_have_a_plane_for_each_factor_and_gradients_are_those_of_the_summands(name: str) -> None:
    weight, grad, options = draw(), draw(1), TERNARY_RULES[name]
    factors = [EXPANDED_FACTOR[name], 1.3 * EXPANDED_FACTOR[name], 1.6 * EXPANDED_FACTOR[name]]
    rule = build(name, weight, **options, **{"rel.factors": factors})
    effective, through = passed(rule, weight, grad)
    alone = [build(name, weight, **options, **{FACTOR_OF.get(name, "factor"): factor}) for factor in factors]
    parts = [passed(one, weight, grad) for one in alone]
    torch.testing.assert_close(effective, sum(part[0] for part in parts), rtol=1e-14, atol=0)
    torch.testing.assert_close(through, sum(part[1] for part in parts), rtol=1e-14, atol=1e-14)
    planes = rule.codes(weight).planes
    assert len(planes) == 3
    for plane, one in zip(planes, alone, strict=True):
        assert torch.equal(plane.codes, one.codes(weight).planes[0].codes)
    own = [parameter for one in alone for parameter in one.parameters()]
    for mine, theirs in zip(rule.parameters(), own, strict=True):
        assert mine.grad is not None and theirs.grad is not None and torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("name", ["sws", "twn", "ttq", "absmean", "tga"])
def test_supports_are_nested_and_levels_are_at_most_two_for_each_summand_and_zero(name: str) -> None:
    weight = draw(2, 6, 5, 3, 3)
    factors = [EXPANDED_FACTOR[name] * step for step in (0.5, 1, 1.5, 2)]
    rule = build(name, weight, **{"rel.factors": factors})
    stacked = rule.codes(weight).stacked()
    for wider, narrower in itertools.pairwise(stacked):
        assert ((narrower == 0) | (narrower == wider)).all(), "a weight of a higher threshold has its lower code too"
        assert (narrower != 0).sum() < (wider != 0).sum()
    assert len(rule(weight).unique()) == 9


@EVERY_RULE
def test_sum_of_the_convolutions_is_one_convolution_with_the_summed_weight(name: str) -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(draw(3, 6, 2, 3, 3))
    factors = [EXPANDED_FACTOR[name], 1.5 * EXPANDED_FACTOR[name]]
    quantize(layer, name, **TERNARY_RULES[name], **{"rel.factors": factors})
    inputs = draw(4, 2, 4, 6, 6)
    planes = codes(layer).planes
    apart = sum(functional.conv2d(inputs, plane.effective(), groups=2) for plane in planes)
    torch.testing.assert_close(layer(inputs), apart, rtol=1e-12, atol=1e-12)
    # The gradients of the latent weight agree as well: the sum of those of the two convolutions.
    layer(inputs).square().sum().backward()
    outer = (2 * layer(inputs)).detach()
    through = torch.zeros_like(latent_weight(layer))
    for factor in factors:
        latent = latent_weight(layer).detach().clone().requires_grad_()
        one = build(name, latent, **TERNARY_RULES[name], **{FACTOR_OF.get(name, "factor"): factor})
        functional.conv2d(inputs, one(latent), groups=2).backward(outer)
        assert latent.grad is not None
        through += latent.grad
    torch.testing.assert_close(latent_weight(layer).grad, through, rtol=1e-12, atol=1e-10)


def test_trained_thresholds_and_scales_of_all_summands_are_parameters_and_thresholds_alone_are_yielded() -> None:
    weight = draw()
    tga = build("tga", weight, **{"rel.factors": [0.05, 0.1]})
    assert list(tga.thresholds()) == list(tga.parameters()) and len(list(tga.parameters())) == 2
    first, second = (float(threshold.detach()) for threshold in tga.thresholds())
    assert second == pytest.approx(2 * first, rel=1e-12)
    ttq = build("ttq", weight, **{"rel.factors": [0.05, 0.1]})
    assert len(list(ttq.parameters())) == 4 and not list(ttq.thresholds())


def test_statistics_number_the_planes() -> None:
    weight = draw()
    found = build("ttq", weight, **{"rel.factors": [0.05, 0.1]}).statistics(weight)
    assert set(found) == {f"{name}{end}" for name in ("scale", "negative_scale", "threshold") for end in ("", "_2")}
    assert found["threshold_2"] == pytest.approx(2 * found["threshold"], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lsq", {"bits": 4}, r"expansion \(rel.factors\) needs ternary weights\n  instead: quant.bits=ternary, or "),
        ("lsq", {"bits": 2}, "bits=ternary"),
        ("bwn", {}, r"quant\.rel: there is no such setting"),
        ("uniform", {"bits": 2}, r"quant\.rel: there is no such setting"),
        ("sws", {"factor": 0.05}, None),
    ],
)
def test_rules_that_are_not_ternary_refuse_expansion(name: str, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert isinstance(build(name, draw(), **options, **{"rel.factors": [0.05, 0.1]}), Residual)
        return
    with pytest.raises(SettingsError, match=message):
        build(name, draw(), **options, **{"rel.factors": [0.05, 0.1]})


@pytest.mark.parametrize("factors", [[0.05, 0.0], [-0.1], [float("nan")], "0.05"])
def test_factors_must_be_positive_numbers(factors: Any) -> None:
    with pytest.raises(SettingsError, match=r"quant\.rel\.factors"):
        build("sws", draw(), **{"rel.factors": factors})
