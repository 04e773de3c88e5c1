"""Right after `quantize`, a layer still computes something like what it did, whatever the size of its weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ternlab.quantizers.attach import quantize, quantized_layers
from ternlab.quantizers.registry import RULES
from tests.quantizers.rules import build, draw

# Two bits of `uniform` leave 3 % of the weights, as its documentation says.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    # `given` fits only weights that are ternary already.
    **{name: (name, {}) for name in RULES if name != "given"},
    "tga centered": ("tga", {"scale": "centered"}),
    "ttq from mean": ("ttq", {"first_scale": "mean"}),
    "lsq 2 bits": ("lsq", {"bits": 2}),
    "lsq 4 bits a filter": ("lsq", {"bits": 4, "granularity": "filter"}),
    "seq a layer": ("seq", {"granularity": "layer"}),
    "uniform 3 bits": ("uniform", {"bits": 3}),
    "twn a filter": ("twn", {"granularity": "filter"}),
}

each_case = pytest.mark.parametrize("case", CASES)


def weight_of(deviation: float, kind: str) -> Tensor:
    drawn = draw(0, 64, 32, 3, 3)
    if kind == "heavy tails":
        drawn = drawn * drawn.abs()
    elif kind == "uniform":
        drawn = torch.rand(64, 32, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    return (drawn * (deviation / drawn.std())).float()


@each_case
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "heavy tails"])
@pytest.mark.parametrize("deviation", [1e-3, 0.05, 10.0])
def test_the_effective_weight_has_the_direction_and_the_size_of_the_weight(
    case: str, kind: str, deviation: float
) -> None:
    name, options = CASES[case]
    weight = weight_of(deviation, kind)
    effective = build(name, weight, **options)(weight).detach()
    cosine = float(nn.functional.cosine_similarity(weight.flatten(), effective.flatten(), dim=0))
    # One large weight sets the range of seq and uniform, and absmean's scale does not see the largest ones.
    assert cosine > (0.55 if kind == "heavy tails" else 0.7)
    assert (0.33 if kind == "heavy tails" else 0.5) < float(effective.norm() / weight.norm()) < 2


@each_case
def test_a_deep_network_without_normalization_keeps_the_size_of_its_output(case: str) -> None:
    name, options = CASES[case]
    torch.manual_seed(0)
    model = nn.Sequential(*[part for _ in range(6) for part in (nn.Linear(64, 64), nn.ReLU())])
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    inputs = torch.randn(32, 64)
    before = float(model(inputs).detach().norm())
    quantize(model, name, **options)
    assert len(list(quantized_layers(model))) == 6
    assert 1 / 30 < float(model(inputs).detach().norm()) / before < 30
