"""Trained scales and steps are stepped with the weights, without decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ternlab.optimizers.groups import threshold_parameters
from ternlab.optimizers.registry import optim_settings
from ternlab.quantizers.attach import quantize, quantized_layers, quantizer_of
from ternlab.settings.quant import quant_settings
from ternlab.training.optimizers import build_optimizer
from ternlab.training.update_rule import TernaryOptimizer


def network(rule: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    return quantize(model, rule, **options)


def groups_of(model: nn.Module, rule: str, options: dict[str, Any], **optim: Any) -> tuple[Any, dict[str, Any]]:
    settings = quant_settings({"name": rule, **options})
    values = {"weight_decay": 0.1, "decay_bn": True, "decay_bias": True, **optim}
    optimizer = build_optimizer(model, optim_settings(values), settings)
    return optimizer, {group["name"]: group for group in optimizer.param_groups}


def ids(parameters: Any) -> set[int]:
    return {id(parameter) for parameter in parameters}


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    ("rule", "options", "names"),
    [
        ("ttq", {}, {"positive_multiple", "negative_multiple"}),
        ("ttq", {"first_scale": "one"}, {"positive_scale", "negative_scale"}),
        ("lsq", {"bits": 4, "granularity": "filter"}, {"step"}),
        ("seq", {}, {"reach"}),
        ("lsq", {"rel": {"factors": [1.0, 2.0]}}, {"summands.0.step", "summands.1.step"}),
    ],
)
def test_trained_scales_are_a_group_without_decay(
    rule: str, options: dict[str, Any], names: set[str], optim: str
) -> None:
    model = network(rule, **options)
    optimizer, groups = groups_of(model, rule, options, name=optim)
    assert not isinstance(optimizer, TernaryOptimizer)
    scales = [parameter for _, layer in quantized_layers(model) for parameter in quantizer_of(layer).parameters()]
    for _, layer in quantized_layers(model):
        assert {name for name, _ in quantizer_of(layer).named_parameters()} == names
    assert ids(groups["scales"]["params"]) == ids(scales) and len(scales) == 2 * len(names)
    assert groups["scales"]["weight_decay"] == 0
    assert {name: group["weight_decay"] for name, group in groups.items() if name != "scales"} == {
        "weights": 0.1,
        "norms": 0.1,
        "biases": 0.1,
    }
    assert groups["scales"]["lr"] == groups["weights"]["lr"]
    everything = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(everything) == len(list(model.parameters())) and ids(everything) == ids(model.parameters())


def test_a_step_without_gradient_shrinks_weights_and_not_scales() -> None:
    model = network("lsq")
    optimizer, groups = groups_of(model, "lsq", {}, lr=0.5)
    before = {name: [p.detach().clone() for p in group["params"]] for name, group in groups.items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, group in groups.items():
        for old, new in zip(before[name], group["params"], strict=True):
            assert torch.equal(new, old) is (name == "scales" or not old.any()), name


@pytest.mark.parametrize("rule", ["sws", "twn", "bwn", "absmean", "uniform"])
def test_rules_that_train_nothing_have_no_group_of_scales(rule: str) -> None:
    model = network(rule)
    assert set(groups_of(model, rule, {})[1]) == {"weights", "norms", "biases"}
    assert not list(threshold_parameters(model))


@pytest.mark.parametrize("factors", [[], [0.05, 0.1]])
def test_thresholds_are_not_scales_also_in_an_expansion(factors: list[float]) -> None:
    options = {"rel": {"factors": factors}}
    model = network("tga", **options)
    optimizer, groups = groups_of(model, "tga", options)
    assert isinstance(optimizer, TernaryOptimizer)
    assert "scales" not in groups
    assert ids(groups["thresholds"]["params"]) == ids(threshold_parameters(model))
    assert len(groups["thresholds"]["params"]) == 2 * max(1, len(factors))
    assert groups["thresholds"]["weight_decay"] == 0
