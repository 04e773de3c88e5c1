"""`first_last=full` keeps the layers that compute first and last, in whatever order they were defined."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import ternlab
from ternlab.models.build import build_model
from ternlab.models.registry import MODELS, model_settings
from ternlab.quantizers.attach import quantize
from ternlab.quantizers.order import first_and_last
from ternlab.quantizers.weights import layer_weights, quantized_weights


class Backwards(nn.Module):
    """Defines its classifier before its features."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(4, 3)
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.unused = nn.Linear(2, 2)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.middle(self.stem(images).relu())
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


class Branches(Backwards):
    """Cannot be traced, because it decides by the values of its input."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        if images.sum() < 0:
            images = -images
        return super().forward(images)


class Remembers(Backwards):
    """Can be traced, and would remember what the tracer puts in the place of an image."""

    def forward(self, images: Tensor) -> Tensor:
        self.last = images
        return super().forward(images)


def kept(model: nn.Module) -> set[str]:
    return {weight.name for weight in layer_weights(model)} - {weight.name for weight in quantized_weights(model)}


def test_the_order_of_execution_counts_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ternlab"):
        model = quantize(Backwards(), "twn", first_last="full")
    assert kept(model) == {"stem", "classifier"}
    assert "the first layer is stem, the last one classifier (in the order of execution)" in caplog.text
    assert {weight.name for weight in ternlab.full_precision(model).weights} == {"stem", "classifier"}
    assert kept(quantize(Backwards(), "twn", first_last="full", exclude=["unused"])) == {"stem", "classifier", "unused"}


def test_a_network_that_cannot_be_traced_is_observed(caplog: pytest.LogCaptureFixture) -> None:
    model = Branches()
    before = copy.deepcopy(model.state_dict())
    quantize(model, "twn", first_last="full", input_shape=(2, 8, 8))
    assert kept(model) == {"stem", "classifier"} and not caplog.records
    assert torch.equal(before["stem.weight"], model.stem.weight) and model.training and not hasattr(model, "seen")


@pytest.mark.parametrize("shape", [None, (7, 8, 8)])
def test_without_an_image_that_fits_the_order_of_definition_counts_with_a_warning(
    shape: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = quantize(Branches(), "twn", first_last="full", input_shape=shape)
    assert kept(model) == {"classifier", "middle"}
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "the first layer is classifier, the last one middle" in record.message
    assert "in the order of definition" in record.message


def test_tracing_leaves_nothing_in_the_network() -> None:
    model = Remembers()
    assert first_and_last(model).observed
    assert not hasattr(model, "last")


@pytest.mark.parametrize("separate", [False, True])
def test_attention_at_both_ends(separate: bool) -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.between = nn.Linear(4, 4)
            self.attn = nn.MultiheadAttention(4, 2, **({"kdim": 4, "vdim": 3} if separate else {}))
            self.again = nn.MultiheadAttention(4, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.attn(tokens, tokens, tokens[..., :3] if separate else tokens)[0]
            x = self.between(x)
            return self.again(x, x, x)[0]  # type: ignore[no-any-return]

    projections = [f"attn.{name}_proj_weight" for name in "qkv"] if separate else ["attn.in_proj_weight"]
    assert kept(quantize(Attends(), first_last="full")) == {*projections, "again.out_proj"}


def test_a_single_layer_is_first_and_last() -> None:
    assert first_and_last(nn.Linear(3, 2)) == first_and_last(nn.Linear(3, 2), (3,))
    assert first_and_last(nn.Linear(3, 2)).names == {""}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_our_own_networks_keep_the_layers_that_they_kept(name: str) -> None:
    with torch.device("meta"):
        model = build_model(model_settings({"name": name}), channels=3, size=32, classes=10)
    names = [weight.name for weight in layer_weights(model)]
    found = first_and_last(model)
    assert found.observed and (found.first, found.last) == ((names[0],), (names[-1],))


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("densenet121", "features.conv0", "classifier"),
        ("vit_b_16", "conv_proj", "heads.head"),
        ("mobilenet_v3_small", "features.0.0", "classifier.3"),
        ("squeezenet1_0", "features.0", "classifier.1"),
    ],
)
def test_networks_of_torchvision(name: str, first: str, last: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    found = first_and_last(model, (3, 224, 224))
    assert found.observed and (found.first, found.last) == ((first,), (last,))
