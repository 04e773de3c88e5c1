"""Operations against explicit loops and published numbers; the table and the network around it."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import ternlab
from ternlab.core.errors import SettingsError
from ternlab.export.accounting import sizes
from ternlab.export.operations import uses
from ternlab.export.summary import Summary, summary
from ternlab.quantizers.attach import codes, quantize
from ternlab.quantizers.weights import layer_weights

IMAGENET = (3, 224, 224)
RESNET18_MACS = 1_814_073_344


def resnet18(**options: Any) -> nn.Module:
    """Return torchvision's network without the time of its random initialization."""
    with torch.device("meta"):
        model: nn.Module = torchvision.models.resnet18(weights=None)
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    for buffer in model.buffers():
        buffer.fill_(1)
    return quantize(model, **options) if options else model


@pytest.mark.parametrize(
    ("name", "macs"),
    [("resnet18", RESNET18_MACS), ("resnet50", 4_089_184_256), ("alexnet", 714_188_480)],
)
def test_published_macs(name: str, macs: int) -> None:
    # On the meta device nothing is computed; the shapes are the same.
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    weights = {weight.name: weight for weight in layer_weights(model)}
    found = uses(model, weights.values(), IMAGENET)
    assert sum(use.outputs * weights[key].value[0].numel() for key, use in found.items()) == macs
    assert sum(use.macs or 0 for use in found.values()) == macs


@pytest.mark.parametrize("quantized", [False, True])
def test_resnet18_of_torchvision(quantized: bool) -> None:
    model = resnet18(rule="twn", first_last="full") if quantized else resnet18()
    found = ternlab.summary(model, IMAGENET)
    assert found.macs == RESNET18_MACS
    assert found.parameters == 11_689_512
    assert len(found.layers) == 21
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["conv1"].macs == 118_013_952
    assert by_name["fc"].macs == 512_000
    assert by_name["layer2.0.downsample.0"].macs == 28 * 28 * 64 * 128
    assert sum(layer.macs or 0 for layer in found.layers) == RESNET18_MACS
    if not quantized:
        assert (found.additions, found.multiplications) == (0, RESNET18_MACS)
        return
    assert round(found.ratio, 2) == 9.51
    assert [layer.name for layer in found.layers if layer.rule is None] == ["conv1", "fc"]
    inner = [layer for layer in found.layers if layer.codes]
    # Sparsity differs between layers, so additions are not the MACs times the mean share of nonzero codes.
    expected = sum((layer.macs or 0) * (layer.codes.nonzeros / layer.codes.weights) for layer in inner if layer.codes)
    assert found.additions == pytest.approx(expected, rel=1e-12)
    scaled = sum(layer.use.outputs for layer in inner if layer.use)
    assert found.multiplications == 118_013_952 + 512_000 + scaled


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, int, int]:
    """Return a convolution and the height and width of its images."""
    groups = draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    layer = nn.Conv2d(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    least = [factor * (taps - 1) + 1 for factor, taps in zip(dilation, kernel, strict=True)]
    height, width = (side + draw(st.integers(0, 4)) for side in least)
    return layer, height, width


def positions(side: int, taps: int, stride: int, padding: int, dilation: int) -> list[int]:
    """Return where a kernel can be put along one side of the padded image, by trying every place."""
    return [
        start
        for start in range(-padding, side + padding)
        if (start + padding) % stride == 0 and start + dilation * (taps - 1) < side + padding
    ]


def operations_by_loops(layer: nn.Conv2d, height: int, width: int, found: Tensor) -> tuple[int, int]:
    """Return multiply-accumulates, and additions with the codes `found`, one at a time."""
    macs = additions = 0
    (tall, wide), inputs, outputs = layer.kernel_size, layer.in_channels, layer.out_channels
    rows = positions(height, tall, layer.stride[0], int(layer.padding[0]), layer.dilation[0])
    columns = positions(width, wide, layer.stride[1], int(layer.padding[1]), layer.dilation[1])
    for _ in itertools.product(rows, columns):
        for output, channel in itertools.product(range(outputs), range(inputs)):
            group = channel // (inputs // layer.groups)
            if output // (outputs // layer.groups) != group:
                continue
            for row, column in itertools.product(range(tall), range(wide)):
                macs += 1
                additions += int(found[output, channel % (inputs // layer.groups), row, column] != 0)
    return macs, additions


@settings(max_examples=60)
@given(convolutions(), st.sampled_from(["twn", "bwn"]))
def test_operations_of_a_convolution_by_loops(made: tuple[nn.Conv2d, int, int], rule: str) -> None:
    layer, height, width = made
    model = quantize(nn.Sequential(layer), rule)
    macs, additions = operations_by_loops(layer, height, width, codes(layer).planes[0].codes)
    (found,) = summary(model, (layer.in_channels, height, width)).layers
    assert (found.macs, found.additions) == (macs, additions)


def test_a_linear_layer_by_hand() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    assert summary(model, (6,)).macs == 24
    # Applied to each of 5 x 7 places.
    assert summary(model, (5, 7, 6)).macs == 24 * 35
    quantize(model, "bwn")
    found = summary(model, (5, 7, 6))
    assert (found.macs, found.additions, found.multiplications) == (24 * 35, 24 * 35, 4 * 35)


@pytest.mark.parametrize(
    ("rule", "options", "additions", "multiplications"),
    [
        ("ttq", {}, "nonzeros", 2 * 4),  # a scale for each sign
        ("sws", {"rel": {"factors": (0.05, 0.1)}}, "nonzeros", 2 * 4),  # a scale for each plane
        ("twn", {"granularity": "filter"}, "nonzeros", 4),
        ("uniform", {"bits": 8}, None, 24 + 4),
        ("lsq", {"bits": 2}, None, 24 + 4),  # -2 is not an addition
        ("uniform", {"bits": 2}, "nonzeros", 4),  # its codes are -1, 0 and 1
    ],
)
def test_what_is_left_to_multiply(
    rule: str, options: dict[str, Any], additions: str | None, multiplications: int
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    found = summary(quantize(nn.Sequential(layer), rule, **options), (6,))
    nonzeros = sum(int((plane.codes != 0).sum()) for plane in codes(layer).planes)
    assert found.layers[0].additions == (nonzeros if additions else None)
    assert found.additions == (nonzeros if additions else 0)
    assert found.multiplications == multiplications


class Twice(nn.Module):
    """Uses one layer in two places, and another one never; knows no batch size but 1."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(2, 2, 3, padding=1)
        self.again = self.shared
        self.idle = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) == 1
        return self.again(nn.functional.avg_pool2d(self.shared(images), 2))  # type: ignore[no-any-return]


def test_every_use_of_a_layer_computes_and_its_weight_is_stored_once() -> None:
    found = summary(quantize(Twice(), "bwn"), (2, 8, 8))
    shared, idle = found.layers
    assert (shared.name, shared.use and shared.use.calls) == ("shared", 2)
    assert shared.macs == shared.additions == 36 * (64 + 16)
    assert shared.multiplications == 2 * (64 + 16)
    assert (idle.macs, idle.use and idle.use.calls) == (0, 0)
    assert found.quantized_weights == 36 + 9


def test_layers_with_one_weight_compute_apart() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    found = summary(quantize(model, "bwn"), (5,))
    assert [layer.macs for layer in found.layers] == [25, 25]
    assert found.quantized_weights == 25


def test_without_an_input_shape_there_are_sizes_only() -> None:
    model = quantize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    found = ternlab.summary(model)
    assert found.input_shape is found.macs is found.additions is found.multiplications is None
    assert found.layers[0].macs is found.layers[0].additions is found.layers[0].multiplications is None
    assert "MACs   " not in str(found).split("\n\n")[1]
    totals = sizes(model)
    for name in ("parameters", "float_bytes", "quantized_bytes", "packed_bytes", "entropy_bytes", "sparsity", "ratio"):
        assert getattr(found, name) == getattr(totals, name)


class Restless(nn.Module):
    """Changes its buffers in evaluation too, in place and by new ones, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.layer = nn.Conv2d(3, 2, 1)
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        assert not self.norm.training and not self.layer.training and not torch.is_grad_enabled()
        self.count += 1
        self.last = images.sum()[None] + torch.rand(1)
        return self.layer(self.norm(images))  # type: ignore[no-any-return]


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    model = quantize(Restless())
    model.train()
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    buffers = dict(model.named_buffers())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    if fails:
        with pytest.raises(SettingsError):
            summary(model, (4, 5, 5))
    else:
        assert summary(model, (3, 5, 5)).macs == 3 * 2 * 25
    assert [module.training for module in model.modules()] == modes
    assert {name: id(value) for name, value in model.named_buffers()} == {key: id(b) for key, b in buffers.items()}
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision(dtype: torch.dtype) -> None:
    model = quantize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "twn").to(dtype)
    assert summary(model, (3, 6, 6)).macs == 4 * 27 * 16


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((), ["input_shape = ()", "positive integers", "(3, 224, 224)"]),
        ((3, 0, 8), ["(3, 0, 8)", "positive integers"]),
        ((3, -8, 8), ["positive integers"]),
        ((3, 8.0, 8.0), ["positive integers"]),
        (224, ["input_shape = 224", "positive integers"]),
        ("3,8,8", ["input_shape = 3,8,8", "positive integers"]),
        ((1, 8, 8), ["input_shape = (1, 8, 8)", "cannot process", "(3, height, width)"]),
        ((1, 3, 8, 8), ["cannot process", "(3, height, width)", "without the batch"]),
        ((3, 2, 2), ["cannot process"]),
    ],
)
def test_a_wrong_shape_is_refused_with_words_that_help(shape: Any, words: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        summary(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), shape)
    for word in ("instead: ", *words):
        assert word in str(error.value)


def network() -> nn.Module:
    torch.manual_seed(0)
    return quantize(
        nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Flatten(), nn.Linear(360, 9)), exclude=["3"]
    )


def test_the_table_has_every_layer_and_every_total() -> None:
    found = summary(network(), (3, 5, 5))
    layers, totals = str(found).split("\n\n")
    head, *rows = [line.split() for line in layers.splitlines()]
    assert len(rows) == 2
    first = found.layers[0]
    assert first.codes is not None
    zeros, entropy = f"{100 * first.codes.zeros / 1080:.1f}", f"{first.codes.entropy:.3f}"
    additions = f"{first.codes.nonzeros * 9:,}"
    assert rows[0] == ["0", "tga", "40x3x3x3", "1,120", "2", zeros, "%", entropy, "9,720", additions]
    assert rows[1] == ["3", "-", "9x360", "3,249", "32", "-", "-", "3,240", "-"]
    assert head[:3] == ["layer", "rule", "weight"]
    lines = [" ".join(line.split()) for line in totals.splitlines()]
    assert "parameters 4,449 of which 80 outside of these layers" in lines
    assert f"size, whole bits {found.quantized_bytes:,} bytes, {found.ratio:.2f}x smaller" in lines
    assert f"size, full precision {4 * 4449:,} bytes" in lines
    assert any(line.startswith(f"size, 5 trits per byte {found.packed_bytes:,} bytes") for line in lines)
    assert any(line.startswith(f"size, entropy bound {found.entropy_bytes:,} bytes") for line in lines)
    assert "MACs 12,960 for one 3x5x5 image in full precision" in lines
    assert any(line.startswith(f"multiplications left {3240 + 360:,} ") for line in lines)


def test_columns_stand_one_below_the_other_however_long_the_names() -> None:
    long = nn.Sequential()
    long.add_module("a" * 300, network())
    lines = str(summary(long, (3, 5, 5))).split("\n\n")[0].splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) > 300


def test_the_dictionary_goes_through_json_and_adds_up() -> None:
    found = summary(network(), (3, 5, 5))
    back = json.loads(json.dumps(found.to_dict()))
    assert back == found.to_dict()
    assert back["input_shape"] == [3, 5, 5]
    assert [layer["name"] for layer in back["layers"]] == ["0", "3"]
    for name in ("macs", "additions", "multiplications"):
        assert back[name] == sum(layer[name] or 0 for layer in back["layers"])
    others = 32 * back["other_parameters"]
    assert back["parameters"] == sum(layer["parameters"] for layer in back["layers"]) + back["other_parameters"]
    for total, bits in (("quantized", "whole"), ("packed", "packed"), ("entropy", "entropy")):
        each = sum(layer[f"{bits}_bits"] for layer in back["layers"])
        assert back[f"{total}_bytes"] == math.ceil((each + others) / 8)
    assert back["layers"][0]["sparsity"] == back["sparsity"]
    assert back["layers"][1]["bits"] == 32


def test_a_layer_alone_is_a_network() -> None:
    found = summary(quantize(nn.Sequential(nn.Linear(3, 2)), "twn")[0], (3,))  # type: ignore[index]
    assert isinstance(found, Summary)
    assert found.macs == 6
    assert "(Linear)" in str(found)
