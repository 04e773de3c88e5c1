"""Parameter groups for a loop of your own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ternlab
from ternlab.optimizers.registry import optim_settings
from ternlab.quantizers.attach import quantized_layers, quantizer_of
from ternlab.settings.quant import quant_settings
from ternlab.training.optimizers import build_optimizer
from tests.small_network import small_network


def by_name(groups: ternlab.Groups) -> dict[str, dict[str, Any]]:
    assert len({group["name"] for group in groups}) == len(groups)
    return {group["name"]: group for group in groups}


def test_thresholds_and_scales_are_apart_and_not_decayed() -> None:
    model = ternlab.quantize(small_network(), "tga", layers=[{"match": "6", "name": "lsq"}])
    found = by_name(ternlab.param_groups(model, lr=0.1, threshold_lr=0.01, weight_decay=1e-4))
    assert {name: (group["lr"], group["weight_decay"], len(group["params"])) for name, group in found.items()} == {
        "weights": (0.1, 1e-4, 3),
        "norms": (0.1, 0.0, 4),
        "biases": (0.1, 0.0, 3),
        "scales": (0.1, 0.0, 1),
        "thresholds": (0.01, 0.0, 2),
    }
    thresholds = [one for _, layer in quantized_layers(model) for one in quantizer_of(layer).thresholds()]
    assert [id(one) for one in found["thresholds"]["params"]] == [id(one) for one in thresholds]


@pytest.mark.parametrize("rule", [None, "tga", "ttq", "sws"])
def test_every_parameter_is_in_one_group(rule: str | None) -> None:
    model = small_network() if rule is None else ternlab.quantize(small_network(), rule)
    grouped = [id(one) for group in ternlab.param_groups(model, lr=0.1) for one in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(one) for one in model.parameters()}


def test_norms_and_biases_are_decayed_if_asked_for() -> None:
    model = ternlab.quantize(small_network(), "tga")
    found = by_name(ternlab.param_groups(model, lr=0.1, weight_decay=0.5, decay_bn=True, decay_bias=True))
    assert {name: group["weight_decay"] for name, group in found.items()} == {
        "weights": 0.5,
        "norms": 0.5,
        "biases": 0.5,
        "thresholds": 0.0,
    }


def test_the_rate_of_thresholds_is_that_given_else_of_their_rule_else_of_the_weights() -> None:
    model = ternlab.quantize(small_network(), "tga", layers=[{"match": "6", "threshold.lr": 0.03}])
    own = [group for group in ternlab.param_groups(model, lr=0.1) if group["name"] == "thresholds"]
    assert [(group["lr"], len(group["params"])) for group in own] == [(0.1, 2), (0.03, 1)]
    (given,) = [
        group for group in ternlab.param_groups(model, lr=0.1, threshold_lr=0.2) if group["name"] == "thresholds"
    ]
    assert given["lr"] == 0.2 and len(given["params"]) == 3


def test_a_run_has_the_same_groups() -> None:
    model = ternlab.quantize(small_network(), "tga", layers=[{"match": "6", "name": "seq"}])
    optim = optim_settings({"lr": 0.3, "weight_decay": 0.01, "decay_bias": True})
    run = build_optimizer(model, optim, quant_settings({"name": "tga"})).param_groups
    own = torch.optim.SGD(ternlab.param_groups(model, lr=0.3, weight_decay=0.01, decay_bias=True)).param_groups
    assert len(run) == len(own) == 5
    for one, other in zip(run, own, strict=True):
        for name in ("name", "lr", "weight_decay"):
            assert one[name] == other[name]
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]
