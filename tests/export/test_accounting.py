"""Sizes against the published table."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from ternlab.export.accounting import Sizes, sizes
from ternlab.models.build import build_model
from ternlab.quantizers.attach import codes, quantize, quantized_layers
from ternlab.settings.model import ModelSettings


def imagenet(name: str) -> nn.Module:
    """Build a network without the time of its random initialization."""
    with torch.device("meta"):
        model: nn.Module = torchvision.models.get_model(name, weights=None)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize(
    ("name", "parameters", "ternary", "full"),
    [
        ("resnet18", 11_689_512, 15.78, 9.51),
        ("resnet34", 21_797_672, 15.80, 11.67),
        ("resnet50", 25_557_032, 15.51, 7.14),
        ("resnet101", 44_549_160, 15.45, 9.26),
    ],
)
def test_imagenet_networks_have_the_published_sizes(name: str, parameters: int, ternary: float, full: float) -> None:
    for first_last, ratio in (("ternary", ternary), ("full", full)):
        found = sizes(quantize(imagenet(name), first_last=first_last))
        assert found.parameters == parameters
        assert found.float_bytes == 4 * parameters
        assert round(found.ratio, 2) == ratio, first_last


@pytest.mark.parametrize(
    ("name", "parameters", "ratio"),
    [
        ("resnet20", 269_722, 14.84),
        ("resnet32", 464_154, 14.89),
        ("resnet44", 658_586, 14.91),
        ("resnet56", 853_018, 14.92),
    ],
)
def test_cifar_networks_have_the_published_sizes(name: str, parameters: int, ratio: float) -> None:
    found = sizes(quantize(build_model(ModelSettings(name=name), channels=3, size=32, classes=10)))
    assert found.parameters == parameters
    assert round(found.ratio, 2) == ratio


def test_sizes_of_a_small_network_by_hand() -> None:
    # 5 x 3 weights at 2 bits, one scale and 5 + 5 + 5 others at 32 bits: 30 + 32 + 480 bits, rounded up.
    model = quantize(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    with torch.no_grad():
        for _, layer in quantized_layers(model):
            layer.parametrizations.weight.original.copy_(torch.tensor([-4.0, 0, 4]).repeat(5, 1))
            zeros = int((codes(layer).planes[0].codes == 0).sum())
    assert zeros == 5
    found = sizes(model)
    assert found == Sizes(
        parameters=30, quantized_weights=15, float_bytes=120, quantized_bytes=68, sparsity=pytest.approx(1 / 3)
    )
    assert found.ratio == pytest.approx(120 / 68)


def test_full_precision_network_is_its_own_size() -> None:
    found = sizes(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    assert found == Sizes(parameters=30, quantized_weights=0, float_bytes=120, quantized_bytes=120, sparsity=0.0)
    assert found.ratio == 1


def test_quantizing_changes_neither_the_parameters_nor_the_float_size() -> None:
    def build() -> nn.Module:
        return build_model(ModelSettings(name="resnet20"), channels=3, size=32, classes=10)

    plain, ternary = sizes(build()), sizes(quantize(build()))
    assert (plain.parameters, plain.float_bytes) == (ternary.parameters, ternary.float_bytes)


def test_sparsity_is_the_share_of_zeros_over_all_quantized_layers() -> None:
    torch.manual_seed(0)
    model = quantize(nn.Sequential(nn.Linear(30, 40), nn.Linear(40, 2)), threshold={"init": 0.6, "unit": "sigma"})
    found = [codes(layer).planes[0].codes for _, layer in quantized_layers(model)]
    zeros = sum(int((each == 0).sum()) for each in found)
    assert sizes(model).sparsity == zeros / (1200 + 80)
    assert 0.2 < sizes(model).sparsity < 0.7
