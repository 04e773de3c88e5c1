"""What every built-in rule keeps beside the contract."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ternlab.quantizers.attach import codes, quantize
from ternlab.quantizers.registry import RULES
from tests.quantizers.rules import build, draw, grad_of, passed

every_rule = pytest.mark.parametrize("name", RULES)


@every_rule
def test_forward_and_codes_agree_also_in_the_sign_of_zero(name: str) -> None:
    weight = torch.cat([draw(0, 4, 12), 1e-3 * draw(1, 4, 12)]).float()
    rule = build(name, weight)
    one, other = rule(weight).detach(), rule.codes(weight).effective()
    assert torch.equal(one, other)
    assert torch.equal(one.view(torch.int32), other.view(torch.int32))


@every_rule
def test_a_network_cast_to_float16_keeps_its_scales(name: str) -> None:
    layer = nn.Linear(200, 50)
    with torch.no_grad():
        weight = 0.02 * draw(0, 50, 200)
        # It refuses weights that are not ternary.
        layer.weight.copy_(weight.sign() * (weight.abs() > 0.01) if name == "given" else weight)
    quantize(layer, name)
    (before,) = codes(layer).planes
    (after,) = codes(copy.deepcopy(layer).half()).planes
    torch.testing.assert_close(after.scale.float(), before.scale, rtol=0.01, atol=0)
    assert (after.codes != before.codes).float().mean() < 0.01


@pytest.mark.parametrize("name", ["lsq", "seq", "ttq"])
def test_gradient_of_a_scale_at_its_floor_is_finite_whatever_the_weights(name: str) -> None:
    rule = build(name, torch.zeros(4, 8))
    weight = torch.full((4, 8), 1e9)
    passed(rule, weight, torch.ones_like(weight))
    for parameter in rule.parameters():
        assert grad_of(parameter).isfinite().all()
