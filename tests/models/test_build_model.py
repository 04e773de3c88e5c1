"""What holds for every registered network."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from ternlab.models.build import build_model
from ternlab.models.registry import MODELS, register_model
from ternlab.models.settings import ModelSettings


@pytest.mark.parametrize("name", MODELS)
def test_forward_and_backward_reach_every_parameter(name: str) -> None:
    model = build_model(ModelSettings(name=name), channels=1, size=8, classes=5)
    logits = model(torch.randn(4, 1, 8, 8))
    assert logits.shape == (4, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", MODELS)
def test_first_and_last_layer_in_order_of_names_are_the_first_and_last_executed(name: str) -> None:
    # `first_last` of the quantizers goes by the order of named_modules().
    with torch.device("meta"):
        model = build_model(ModelSettings(name=name), channels=3, size=32, classes=10).eval()
        layers = {key: m for key, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        executed: list[str] = []
        for key, layer in layers.items():
            layer.register_forward_hook(lambda *_args, key=key: executed.append(key))
        model(torch.zeros(1, 3, 32, 32))
    assert sorted(executed) == sorted(layers), "every layer once"
    names = list(layers)
    assert (executed[0], executed[-1]) == (names[0], names[-1])
    last = layers[names[-1]]
    assert isinstance(last, nn.Linear) and last.out_features == 10


@pytest.mark.parametrize("argument", ["channels", "size", "classes"])
def test_sizes_below_one_are_refused(argument: str) -> None:
    sizes = {"channels": 3, "size": 32, "classes": 10, argument: 0}
    with pytest.raises(ValueError, match=f"`{argument}` is 0, but must be `{argument} >= 1`"):
        build_model(ModelSettings(), **sizes)


def test_a_network_registered_outside_is_built_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ternlab.models.registry.MODELS", MODELS)
    monkeypatch.setitem(MODELS, "resnet26", "")
    monkeypatch.delitem(MODELS, "resnet26")
    register_model("resnet26", MODELS["resnet20"].builder, settings=MODELS["resnet20"].settings)
    model = build_model(ModelSettings(name="resnet26"), channels=3, size=32, classes=10)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == 26


def test_registering_a_taken_name_or_a_builder_without_colon_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'resnet20' is already registered for ternlab\.models\.resnet_cifar"):
        register_model("resnet20", "elsewhere:build")
    with pytest.raises(ValueError, match=re.escape("must be 'package.module:function'")):
        register_model("mine", "elsewhere.build")
