"""Sizes against the published table, counts by hand, and an independent entropy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ternlab.export.accounting import LayerSize, code_size, entropy, sizes
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.quantizers.attach import codes, quantize, quantized_layers
from ternlab.quantizers.base import BINARY, TERNARY, Codes, Plane


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
    # 5 x 3 weights at 2 bits, one scale and 5 + 5 + 5 others at 32 bits: 30 + 32 + 480 bits, rounded up to bytes.
    model = quantize(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    with torch.no_grad():
        for _, layer in quantized_layers(model):
            layer.parametrizations.weight.original.copy_(torch.tensor([-4.0, 0, 4]).repeat(5, 1))
            assert codes(layer).zeros() == 5
    found = sizes(model)
    assert (found.parameters, found.quantized_weights, found.other_parameters) == (30, 15, 10)
    assert found.float_bytes == 120
    assert found.quantized_bytes == 68
    assert found.packed_bytes == 3 + 64  # 15 trits are 3 bytes
    assert found.entropy_bytes == math.ceil((15 * math.log2(3) + 512) / 8)
    assert found.sparsity == pytest.approx(1 / 3)
    assert found.entropy == pytest.approx(math.log2(3))
    assert found.ratio == pytest.approx(120 / 68)


def test_full_precision_network_is_its_own_size() -> None:
    found = sizes(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    assert (found.parameters, found.quantized_weights, found.sparsity, found.entropy) == (30, 0, 0, 0)
    assert found.float_bytes == found.quantized_bytes == found.packed_bytes == found.entropy_bytes == 120
    assert found.ratio == 1
    assert found.layers[0].codes is found.layers[0].rule is None


def test_a_network_without_parameters_has_no_size() -> None:
    found = sizes(nn.Flatten())
    assert (found.parameters, found.float_bytes, found.quantized_bytes, found.ratio) == (0, 0, 0, 1)


# Rule, its label, and for 6 filters of 4 weights: bits a weight, bytes with five trits a byte, scales.
RULES: dict[str, tuple[str, dict[str, Any], str, int, int, int]] = {
    "tga": ("tga", {}, "tga", 2, 5, 1),
    "tga of filters": ("twn", {"granularity": "filter"}, "twn", 2, 5, 6),
    "two scales": ("ttq", {}, "ttq", 2, 5, 2),
    "trained scales": ("seq", {}, "seq", 2, 5, 6),
    "binary": ("bwn", {}, "bwn", 1, 3, 6),
    "binary layer": ("bwn", {"granularity": "layer"}, "bwn", 1, 3, 1),
    "8 bits": ("uniform", {}, "uniform8", 8, 24, 1),
    "3 bits": ("lsq", {"bits": 3}, "lsq3", 3, 9, 1),
    # Two bits without the lowest code are three levels.
    "uniform 2 bits": ("uniform", {"bits": 2}, "uniform2", 2, 5, 1),
    "2 bits": ("lsq", {"bits": 2}, "lsq2", 2, 6, 1),
    "two planes": ("sws", {"rel": {"factors": (0.05, 0.1)}}, "sws-rel2", 4, 10, 2),
    "trained planes": ("tga", {"rel": {"factors": (0.05, 0.1, 0.2)}}, "tga-rel3", 6, 15, 3),
}


@pytest.mark.parametrize("case", RULES)
def test_every_rule_by_hand(case: str) -> None:
    rule, options, label, bits, packed, scales = RULES[case]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    found = sizes(quantize(model, rule, **options))
    (layer,) = found.layers
    assert (layer.name, layer.kind, layer.rule, layer.shape) == ("0", "Linear", label, (6, 4))
    assert found.parameters == parameters == 24 + 6 + 12
    assert found.quantized_weights == 24
    others = 32 * (6 + 12 + scales)
    assert found.quantized_bytes == math.ceil((24 * bits + others) / 8)
    assert found.packed_bytes == packed + others // 8
    assert layer.codes is not None
    assert (layer.codes.bits, layer.codes.scales) == (bits, scales)


def test_quantizing_changes_neither_the_parameters_nor_the_float_size() -> None:
    def build() -> nn.Module:
        return build_model(ModelSettings(name="resnet20"), channels=3, size=32, classes=10)

    plain, ternary = sizes(build()), sizes(quantize(build()))
    assert (plain.parameters, plain.float_bytes) == (ternary.parameters, ternary.float_bytes)
    assert [layer.parameters for layer in plain.layers] == [layer.parameters for layer in ternary.layers]
    assert (
        plain.other_parameters
        == ternary.other_parameters
        == sum(
            parameter.numel()
            for module in build().modules()
            if isinstance(module, nn.BatchNorm2d)
            for parameter in module.parameters()
        )
    )


def test_sparsity_is_the_share_of_zeros_over_all_quantized_layers() -> None:
    torch.manual_seed(0)
    model = quantize(nn.Sequential(nn.Linear(30, 40), nn.Linear(40, 2)), threshold={"init": 0.6, "unit": "sigma"})
    found = [codes(layer).planes[0].codes for _, layer in quantized_layers(model)]
    zeros = sum(int((each == 0).sum()) for each in found)
    assert sizes(model).sparsity == zeros / (1200 + 80)
    assert 0.2 < sizes(model).sparsity < 0.7


def test_counting_changes_nothing() -> None:
    model = quantize(build_model(ModelSettings(name="resnet20"), channels=3, size=32, classes=10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    assert sizes(model) == sizes(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


# --- entropy


def made(*planes: tuple[list[int], range]) -> Codes:
    return Codes(
        tuple(Plane(torch.tensor(values, dtype=torch.int8), torch.tensor(1.0), alphabet) for values, alphabet in planes)
    )


ALPHABETS = st.sampled_from([TERNARY, BINARY, range(-4, 4), range(-127, 128), range(-128, 128)])


@st.composite
def any_codes(draw: st.DrawFn, most: int = 4) -> Codes:
    count = draw(st.integers(1, 60))
    alphabets = draw(st.lists(ALPHABETS, min_size=1, max_size=most))
    return made(*((draw(st.lists(st.sampled_from(each), min_size=count, max_size=count)), each) for each in alphabets))


@settings(max_examples=150)
@given(any_codes())
def test_entropy_is_that_of_the_joint_codes(found: Codes) -> None:
    _, counts = np.unique(found.stacked().numpy(), axis=1, return_counts=True)
    assert entropy(found) == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-12)


def test_entropy_of_more_combinations_than_can_be_numbered() -> None:
    # 255^4 combinations are more than 32 bits hold.
    values = [-127, 127, 0, 127]
    found = made(*((values, range(-127, 128)) for _ in range(4)))
    assert entropy(found) == pytest.approx(1.5)


@settings(max_examples=100)
@given(any_codes())
def test_sizes_of_codes_by_loops(found: Codes) -> None:
    size, columns = code_size(found), list(zip(*(plane.codes.tolist() for plane in found.planes), strict=True))
    assert size.weights == len(columns)
    assert size.zeros == sum(not any(column) for column in columns)
    assert size.nonzeros == sum(code != 0 for column in columns for code in column)
    # Whole bits are the least power of two that holds the alphabet, for each plane.
    assert size.bits == sum(math.ceil(math.log2(len(plane.alphabet))) for plane in found.planes)
    assert 0 <= size.entropy <= math.log2(math.prod(len(plane.alphabet) for plane in found.planes)) + 1e-9
    assert size.entropy * size.weights <= size.packed_bits <= size.bits * size.weights + 8 * size.planes


@pytest.mark.parametrize(("count", "bytes_"), [(1, 1), (4, 1), (5, 1), (6, 2), (10, 2), (11, 3)])
def test_five_trits_fit_a_byte(count: int, bytes_: int) -> None:
    assert code_size(made(([0] * count, TERNARY))).packed_bits == 8 * bytes_
    assert code_size(made(([0] * count, TERNARY), ([1] * count, TERNARY))).packed_bits == 16 * bytes_


def test_residual_planes_are_nested_so_that_their_joint_entropy_is_below_the_sum() -> None:
    torch.manual_seed(0)
    layer = quantize(nn.Sequential(nn.Linear(64, 64)), "sws", rel={"factors": (0.05, 0.4)})[0]  # type: ignore[index]
    found = codes(layer)
    apart = sum(entropy(Codes((plane,))) for plane in found.planes)
    assert 0 < entropy(found) < apart
    assert entropy(found) <= math.log2(5)


# --- what is shared


def tied(**options: Any) -> tuple[nn.Module, nn.Linear, nn.Linear]:
    """Return a network of two linear layers with one weight between them, quantized where options are given."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    model[1].weight = model[0].weight
    if options:
        quantize(model, **options)
    return model, model[0], model[1]  # type: ignore[return-value]


def bytes_of(found: LayerSize) -> tuple[int, float]:
    return found.parameters, found.whole_bits / 8


def test_a_layer_used_twice_is_counted_once() -> None:
    layer = nn.Linear(10, 10)
    found = sizes(quantize(nn.Sequential(layer, nn.ReLU(), layer)))
    assert [each.name for each in found.layers] == ["0"]
    assert (found.parameters, found.quantized_weights) == (110, 100)
    assert found.quantized_bytes == 25 + 4 + 40


def test_a_tied_weight_is_counted_once_in_full_precision() -> None:
    model, *_ = tied()
    found = sizes(model)
    assert (found.parameters, found.float_bytes, found.quantized_bytes) == (100, 400, 400)
    assert [bytes_of(each) for each in found.layers] == [(100, 400), (0, 0)]


def test_a_tied_quantized_weight_is_counted_once() -> None:
    model, *_ = tied(rule="twn")
    found = sizes(model)
    assert (found.parameters, found.float_bytes, found.quantized_weights) == (100, 400, 100)
    assert (found.quantized_bytes, found.packed_bytes) == (25 + 4, 20 + 4)
    assert [bytes_of(each) for each in found.layers] == [(100, 29), (0, 0)]
    assert [each.shared for each in found.layers] == [False, True]
    assert found.layers[1].codes == found.layers[0].codes


def test_a_tied_weight_with_two_thresholds_has_two_sets_of_codes() -> None:
    model, _, second = tied(rule="tga")
    assert sizes(model).quantized_bytes == 29
    with torch.no_grad():
        for threshold in second.parametrizations.weight[0].thresholds():  # type: ignore[index,union-attr,operator]
            threshold.mul_(8)
    found = sizes(model)
    assert (found.parameters, found.float_bytes) == (100, 400)
    assert (found.quantized_bytes, found.quantized_weights) == (29 + 29, 200)


@pytest.mark.parametrize("exclude", ["0", "1"])
def test_a_weight_that_is_also_used_in_full_precision_is_stored_twice(exclude: str) -> None:
    model, *_ = tied(rule="twn", exclude=[exclude])
    found = sizes(model)
    assert (found.parameters, found.float_bytes, found.quantized_bytes) == (100, 400, 400 + 29)


def test_a_last_layer_tied_to_an_embedding_keeps_the_embedding() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 5)
            self.last = nn.Linear(5, 7, bias=False)
            self.last.weight = self.embedding.weight

        def forward(self, words: Tensor) -> Tensor:
            return self.last(self.embedding(words))  # type: ignore[no-any-return]

    assert sizes(Words()).quantized_bytes == 4 * 35
    found = sizes(quantize(Words(), "twn"))
    assert (found.parameters, found.other_parameters) == (35, 35)
    assert found.quantized_bytes == math.ceil((32 * 35 + 2 * 35 + 32) / 8)


def test_other_parametrizations_count_as_the_parameters_they_are() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(4, 6)), nn.Linear(6, 2))
    assert sizes(model).parameters == sum(parameter.numel() for parameter in model.parameters()) == 24 + 6 + 6 + 14
    assert sizes(model).layers[0].parameters == 36
