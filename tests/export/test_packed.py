"""Packed files give back the trained network bit for bit, or one error; never another network."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ternlab.errors import SettingsError, TernlabError
from ternlab.export import packed
from ternlab.export.accounting import code_size, entropy
from ternlab.export.container import FileFormatError
from ternlab.export.header import Architecture, Packing
from ternlab.export.packed import load, read_codes, save
from ternlab.models.build import build_model
from ternlab.models.registry import MODELS
from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers
from ternlab.quantizers.base import Codes, Plane
from ternlab.settings.model import ModelSettings
from tests import tiny
from tests.export.forging import Arrays, Change, Header, forge, parts

PACKINGS: tuple[Packing, ...] = ("trit5", "bits", "entropy")
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "tga": ("tga", {}),
    "tga centered": ("tga", {"scale": "centered"}),
    "tga planes": ("tga", {"rel.factors": (0.05, 0.1, 0.2)}),
    "sws": ("sws", {}),
    "sws planes": ("sws", {"rel.factors": (0.05, 0.1)}),
    "twn": ("twn", {}),
    "twn of filters": ("twn", {"granularity": "filter"}),
    "ttq": ("ttq", {}),
    "ttq mean": ("ttq", {"first_scale": "mean"}),
    "ttq planes": ("ttq", {"rel.factors": (0.05, 0.2)}),
    "bwn": ("bwn", {}),
    "bwn of layers": ("bwn", {"granularity": "layer"}),
    "absmean": ("absmean", {"granularity": "filter"}),
    "lsq": ("lsq", {}),
    "lsq planes": ("lsq", {"rel.factors": (0.5, 1.0)}),
    **{f"lsq {bits}": ("lsq", {"bits": bits, "granularity": "filter"}) for bits in (2, 3, 4, 8)},
    "seq": ("seq", {}),
    **{f"uniform {bits}": ("uniform", {"bits": bits}) for bits in (2, 3, 5, 8)},
}


def convolutions() -> nn.Module:
    """Return a network with groups, odd kernels, a depthwise layer and biases, for images of 3 x 9 x 9."""
    return nn.Sequential(
        nn.Conv2d(3, 8, (3, 1), padding=(1, 0), bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, groups=4, padding=2, dilation=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.Flatten(),
        nn.Linear(128, 5),
    )


def trained(network: nn.Module, rule: str, options: dict[str, Any], shape: tuple[int, ...] = (3, 9, 9)) -> nn.Module:
    """Quantize a network and train it for two steps, so that nothing has the value that it began with."""
    torch.manual_seed(1)
    model = quantize(network, rule, **options)
    step = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        step.zero_grad()
        model(torch.randn(4, *shape)).square().mean().backward()
        step.step()
    return model


def images(*shape: int, count: int = 4) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def logits(network: nn.Module, *shape: int) -> Tensor:
    return network.eval()(images(*(shape or (3, 9, 9))))


def same_codes(found: dict[str, Codes], model: nn.Module) -> None:
    wanted = {name: codes(layer) for name, layer in quantized_layers(model)}
    assert found.keys() == wanted.keys()
    for name, each in found.items():
        assert len(each.planes) == len(wanted[name].planes)
        for one, other in zip(each.planes, wanted[name].planes, strict=True):
            assert one.alphabet == other.alphabet
            assert one.codes.dtype == torch.int8 and torch.equal(one.codes, other.codes)
            assert torch.equal(one.scale, other.scale)
            assert (one.negative_scale is None) == (other.negative_scale is None)
            if one.negative_scale is not None and other.negative_scale is not None:
                assert torch.equal(one.negative_scale, other.negative_scale)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("case", RULES)
def test_every_rule_comes_back_bit_for_bit(tmp_path: Path, case: str, packing: Packing) -> None:
    model = trained(convolutions(), *RULES[case])
    path = tmp_path / "net"
    assert save(model, path, packing=packing) == path.stat().st_size
    plain = convolutions()
    same_codes(read_codes(path, plain), model)
    network = load(path, model=plain)
    assert network is plain and not any(module.training for module in network.modules())
    assert not any("parametrizations" in name for name in network.state_dict())
    assert torch.equal(logits(network), logits(model))


@pytest.mark.parametrize("case", RULES)
def test_the_accounting_is_what_is_written(tmp_path: Path, case: str) -> None:
    model = trained(convolutions(), *RULES[case])
    save(model, tmp_path / "packed")
    _, arrays = parts((tmp_path / "packed").read_bytes())
    for name, layer in quantized_layers(model):
        written = sum(array.nbytes for key, array in arrays.items() if key.startswith(f"codes/{name}/"))
        assert 8 * written == code_size(codes(layer)).packed_bits


def test_entropy_codes_reach_their_bound(tmp_path: Path) -> None:
    model = quantize(nn.Linear(1000, 200), "twn")
    save(model, tmp_path / "net", packing="entropy")
    _, arrays = parts((tmp_path / "net").read_bytes())
    bound = entropy(codes(model)) * 200_000 / 8
    assert bound <= arrays["codes//0"].nbytes + 1 and arrays["codes//0"].nbytes <= 1.01 * bound + 64


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_built_network_comes_back_without_its_code(tmp_path: Path, packing: Packing) -> None:
    for name, first_last in (("resnet20", "ternary"), ("alexnet", "full")):
        model = build_model(ModelSettings(name=name), channels=3, size=16, classes=4)
        quantize(model, "tga", first_last=first_last)
        facts = Architecture(model={"name": name}, channels=3, size=16, classes=tuple("abcd"))
        save(model, tmp_path / name, packing=packing, architecture=facts)
        random = torch.get_rng_state()
        network = load(tmp_path / name)
        assert torch.equal(torch.get_rng_state(), random)
        same_codes(read_codes(tmp_path / name), model)
        assert torch.equal(logits(network, 3, 16, 16), logits(model, 3, 16, 16))
        assert not any(value.is_meta for value in network.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    model = quantize(tiny_network().to(dtype), "ttq")
    save(model, tmp_path / "net", architecture=tiny_facts())
    network = load(tmp_path / "net")
    with torch.no_grad():
        assert torch.equal(network(images(3, 8, 8).to(dtype)), model.eval()(images(3, 8, 8).to(dtype)))
    with pytest.raises(FileFormatError, match=r"torch\.float32"):
        load(tmp_path / "net", model=tiny_network())


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name=tiny.NAME), channels=3, size=8, classes=2)


def tiny_facts(**changes: Any) -> Architecture:
    values = {"model": {"name": tiny.NAME}, "channels": 3, "size": 8, "classes": ("no", "yes"), **changes}
    return Architecture.model_validate(values)


def test_a_foreign_network_of_another_library_comes_back(tmp_path: Path) -> None:
    model = quantize(torchvision.models.resnet18(num_classes=3), "twn", exclude=("layer4*",))
    save(model, tmp_path / "net")
    network = load(tmp_path / "net", model=torchvision.models.resnet18(num_classes=3))
    assert torch.equal(logits(network, 3, 40, 40), logits(model, 3, 40, 40))


def test_a_single_layer_comes_back(tmp_path: Path) -> None:
    model = quantize(nn.Linear(7, 3), "tga")
    save(model, tmp_path / "net")
    assert torch.equal(logits(load(tmp_path / "net", model=nn.Linear(7, 3)), 7), logits(model, 7))
    assert list(read_codes(tmp_path / "net", nn.Linear(7, 3))) == [""]


class Tied(nn.Module):
    """One layer under two names, and one parameter in three layers, an embedding among them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = self.first
        self.embedding = nn.Embedding(6, 6)
        self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.second.weight = self.third.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.again(x).relu())
        return self.third(self.second(x)) + self.embedding(torch.arange(6))[0]


@pytest.mark.parametrize("rule", ["tga", "twn"])
def test_shared_layers_and_parameters_come_back(tmp_path: Path, rule: str) -> None:
    model = quantize(Tied(), rule)
    if rule == "tga":  # one latent weight, and other codes of it in the other layer
        with torch.no_grad():
            thresholds = list(dict(quantized_layers(model))["third"].parametrizations.weight[0].thresholds())
            thresholds[0].mul_(6)
        assert not torch.equal(codes(model.second).stacked(), codes(model.third).stacked())
    save(model, tmp_path / "net")
    same_codes(read_codes(tmp_path / "net", Tied()), model)
    assert torch.equal(logits(load(tmp_path / "net", model=Tied()), 6), logits(model, 6))


class Buffers(nn.Module):
    """Buffers that must come back, one that is not saved, and a count that is not BatchNorm's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf"), 0.0, 0.0]))
        self.register_buffer("num_batches_tracked", torch.tensor(3))
        self.register_buffer("unsaved", torch.full((4,), 2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x) + self.mask).softmax(-1) * self.num_batches_tracked * self.unsaved


def build_buffers(settings: ModelSettings, channels: int, size: int, classes: int) -> nn.Module:
    return Buffers()


def test_buffers_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "buffers", f"{__name__}:build_buffers")
    model = quantize(Buffers(), "sws")
    model.num_batches_tracked.fill_(7)
    save(model, tmp_path / "net", architecture=tiny_facts(model={"name": "buffers"}))
    random = torch.get_rng_state()
    assert torch.equal(logits(load(tmp_path / "net"), 4), logits(model, 4))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(logits(load(tmp_path / "net", model=Buffers()), 4), logits(model, 4))


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    """Return a quantized layer of any kind, shape, rule and values."""
    rule, options = RULES[draw(st.sampled_from(sorted(RULES)))]
    if draw(st.booleans()):
        layer: nn.Module = nn.Linear(draw(st.integers(1, 12)), draw(st.integers(1, 9)))
    else:
        groups, kernel = draw(st.integers(1, 3)), draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        layer = nn.Conv2d(groups * inner, groups * outer, kernel, groups=groups)
    values = st.one_of(st.just(0.0), st.sampled_from([-1.0, 1.0]), st.floats(-1e3, 1e3, width=32))
    size = layer.weight.numel()
    drawn = draw(st.one_of(values.map(lambda value: [value] * size), st.lists(values, min_size=size, max_size=size)))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(drawn, dtype=torch.float32).reshape(layer.weight.shape))
    return quantize(layer, rule, **options)


def plain_layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features)
    assert isinstance(layer, nn.Conv2d)
    return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, groups=layer.groups)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layer=layers(), packing=st.sampled_from(PACKINGS))
def test_any_layer_comes_back(tmp_path: Path, layer: nn.Module, packing: Packing) -> None:
    save(layer, tmp_path / "net", packing=packing)
    same_codes(read_codes(tmp_path / "net", plain_layer(layer)), layer)
    loaded = load(tmp_path / "net", model=plain_layer(layer))
    assert torch.equal(loaded.weight, layer.weight) and torch.equal(loaded.bias, layer.bias)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("case", ["tga", "bwn", "uniform 8"])
def test_zeros_and_single_weights_come_back(tmp_path: Path, case: str, packing: Packing) -> None:
    for shape in ((1, 1), (1, 13), (5, 1)):
        model = quantize(nn.Linear(*shape), RULES[case][0], **RULES[case][1])
        with torch.no_grad():
            latent_weight(model).zero_()
        save(model, tmp_path / "net", packing=packing)
        same_codes(read_codes(tmp_path / "net", nn.Linear(*shape)), model)


def test_saving_changes_nothing(tmp_path: Path) -> None:
    model = trained(convolutions(), "tga", {})
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = copy.deepcopy(model)
    for fold in (False, True):
        save(model, tmp_path / "net", fold=fold)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for network in (model, twin):
        network.zero_grad()
        network(images(3, 9, 9)).square().sum().backward()
        torch.optim.SGD(network.parameters(), lr=0.01).step()
    same_codes({name: codes(layer) for name, layer in quantized_layers(model)}, twin)
    assert torch.equal(logits(model), logits(twin))
    for _, layer in quantized_layers(model):
        assert latent_weight(layer).grad is not None and type(layer).__name__.startswith("Parametrized")


def save_for_comparison(path: Path) -> None:
    """Write the same network as every process does."""
    model = quantize(tiny_network(), "ttq")
    facts = tiny_facts()
    save(model, path, packing="entropy", fold=True, architecture=facts, metrics={"b": 1.0, "a": 2.5}, rule="ttq")


# --- what save refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layer: latent_weight(layer).fill_(float("nan")), "not finite"),
        (lambda layer: latent_weight(layer)[0, 0].fill_(float("inf")), "finite"),
        (lambda layer: layer.bfloat16(), "bfloat16"),
        (lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", nn.Tanh()), "parametrization"),
    ],
)
def test_a_network_that_cannot_be_packed_is_refused(
    tmp_path: Path, change: Callable[[nn.Module], object], message: str
) -> None:
    model = quantize(nn.Linear(3, 2), "tga")
    (tmp_path / "net").write_bytes(b"old")
    with torch.no_grad():
        change(model)
    with pytest.raises(SettingsError, match=message):
        save(model, tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == b"old"


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    model = quantize(nn.Linear(3, 2), "tga")
    with pytest.raises(SettingsError, match="no layer is quantized"):
        save(nn.Linear(3, 2), tmp_path / "net")
    with pytest.raises(SettingsError, match="cannot be written"):
        save(model, tmp_path / "missing" / "net")
    with pytest.raises(SettingsError, match="no such setting"):
        save(model, tmp_path / "net", run="x")
    with pytest.raises(SettingsError, match=r"metrics\.loss"):
        save(model, tmp_path / "net", metrics={"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_codes_outside_of_their_alphabet_are_refused() -> None:
    plane = Plane(torch.tensor([[1, 2]], dtype=torch.int8), torch.tensor(1.0))
    with pytest.raises(SettingsError, match="outside of its alphabet"):
        packed._write_plane({}, "a/0", plane, "trit5")
    below = Plane(torch.tensor([[0, -2]], dtype=torch.int8), torch.tensor(1.0))
    between = Plane(torch.tensor([[0, 1]], dtype=torch.int8), torch.tensor(1.0), range(-1, 2, 2))
    for wrong in (below, between):
        with pytest.raises(SettingsError, match="outside of its alphabet"):
            packed._write_plane({}, "a/0", wrong, "bits")
    scale = Plane(torch.ones(2, 2, dtype=torch.int8), torch.ones(1, 2))
    with pytest.raises(SettingsError, match="neither of the layer nor of its filters"):
        packed._write_plane({}, "a/0", scale, "trit5")


# --- what load refuses -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with two planes, two scales, full-precision parts and an architecture, entropy-coded."""
    path = tmp_path_factory.mktemp("packed") / "net"
    model = quantize(tiny_network(), "ttq", **{"rel.factors": (0.05, 0.3), "exclude": ("10",)})
    save(model, path, packing="entropy", architecture=tiny_facts(), metrics={"test/top1": 0.5})
    return path


def put(*path: Any) -> Change:
    """Return a change that puts the last of `path` where the others lead to."""
    *way, last, value = path

    def change(header: Header, _: Arrays) -> None:
        place: Any = header
        for step in way:
            place = place[step]
        place[last] = value

    return change


def array(name: str, value: Any) -> Change:
    return lambda header, arrays: arrays.__setitem__(name, np.array(value))


def both(*changes: Change) -> Change:
    return lambda header, arrays: [change(header, arrays) for change in changes]


def without(*names: str) -> Change:
    return lambda header, arrays: [arrays.pop(name) for name in names]


def without_a_plane(header: Header, arrays: Arrays) -> None:
    header["layers"][0]["planes"].pop()


def twice(header: Header, arrays: Arrays) -> None:
    header["layers"].append(copy.deepcopy(header["layers"][0]))


HUGE = 10**15
DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

# What is changed in a file whose checksum then fits again; what the message must hold.
FORGERIES: dict[str, tuple[Change, str]] = {
    "later version": (put("version", 2), "version 2 of the format"),
    "much later version": (both(put("version", 10**30), put("unknown", 1)), "newer ternlab"),
    "version as text": (put("version", "2"), "version"),
    "version 0": (put("version", 0), "version"),
    "no version": (lambda header, _: header.pop("version"), "packed network"),
    "no format": (lambda header, _: header.pop("format"), "packed network"),
    "other format": (put("format", "onnx"), "packed network"),
    "unknown entry": (put("a\n\x1b", 1), r"a\\n\\x1b"),
    "no layers": (put("layers", []), "layers"),
    "layers of another kind": (put("layers", DEEP), "layers"),
    "no shape": (put("layers", 0, "shape", []), "shape"),
    "another shape": (put("layers", 0, "shape", [8, 27]), "shape"),
    "same number in another shape": (put("layers", 0, "shape", [3, 8, 3, 3]), "shape"),
    "huge shape": (put("layers", 0, "shape", [HUGE, HUGE, HUGE]), "shape"),
    "negative shape": (put("layers", 0, "shape", [-8, -3, 3, 3]), "shape"),
    "shape of truths": (put("layers", 0, "shape", [None]), "shape"),
    "no name": (put("layers", 0, "name", ""), "no such layer"),
    "dots": (put("layers", 0, "name", ".."), "no such layer"),
    "path": (put("layers", 0, "name", "../../etc/passwd"), "no such layer"),
    "surrogate": (put("layers", 0, "name", "\ud800"), "no such layer"),
    "inside of a layer": (put("layers", 0, "name", "1.weight"), "no such layer"),
    "a layer twice": (twice, "twice"),
    "fewer planes": (without_a_plane, "which the network has not"),
    "no planes": (put("layers", 0, "planes", []), "planes"),
    "second plane away": (without("codes/1/1"), "has no 'codes/1/1'"),
    "a scale away": (without("scale/1/0"), "has no 'scale/1/0'"),
    "negative scale away": (without("negative_scale/1/0"), "has no 'negative_scale/1/0'"),
    "negative scale denied": (put("layers", 0, "planes", 0, "negative_scale", False), "which the network has not"),
    "additional codes": (array("codes/1/2", [1]), "which the network has not"),
    "additional state": (array("state/extra", [1.0]), "which the network has not"),
    "weights as state": (array("state/1.weight", np.zeros((8, 3, 3, 3), np.float32)), "which the network has not"),
    "state away": (without("state/2.bias"), "has no 'state/2.bias'"),
    "state of another shape": (array("state/2.bias", np.zeros(9, np.float32)), "state/2.bias"),
    "state of integers": (array("state/2.bias", np.zeros(8, np.int32)), "state/2.bias"),
    "state of another precision": (array("state/2.bias", np.zeros(8, np.float64)), "several precisions"),
    "codes of numbers": (array("codes/1/0", np.zeros(8, np.float32)), "not bytes"),
    "codes in a matrix": (array("codes/1/0", np.zeros((8, 1), np.uint8)), "not bytes"),
    "codes cut": (lambda header, arrays: arrays.update({"codes/1/0": arrays["codes/1/0"][:-4]}), "codes of '1'"),
    "codes swapped": (
        lambda header, arrays: arrays.update({"codes/1/0": arrays["codes/1/1"], "codes/1/1": arrays["codes/1/0"]}),
        "codes of '1'",
    ),
    "scale of a matrix": (array("scale/1/0", np.ones((8, 3, 1, 1), np.float32)), "scale has the shape"),
    "scale of columns": (array("scale/1/0", np.ones((1, 3, 1, 1), np.float32)), "scale has the shape"),
    "scale of integers": (array("scale/1/0", 1), "scale is int64"),
    "scale of truths": (array("scale/1/0", True), "scale is bool"),
    "scale NaN": (array("scale/1/0", np.float32("nan")), "not finite"),
    "scale infinite": (array("negative_scale/1/0", np.float32("inf")), "not finite"),
    "alphabet too wide": (put("layers", 0, "planes", 0, "alphabet", [-1, 300, 1]), "alphabet"),
    "alphabet huge": (put("layers", 0, "planes", 0, "alphabet", [-1, 10**30, 1]), "alphabet"),
    "alphabet huge steps": (put("layers", 0, "planes", 0, "alphabet", [-1, 2, 10**30]), "alphabet"),
    "alphabet backwards": (put("layers", 0, "planes", 0, "alphabet", [1, -2, -1]), "alphabet"),
    "alphabet standing": (put("layers", 0, "planes", 0, "alphabet", [-1, 2, 0]), "alphabet"),
    "alphabet below bytes": (put("layers", 0, "planes", 0, "alphabet", [-129, 1, 1]), "alphabet"),
    "alphabet above bytes": (put("layers", 0, "planes", 0, "alphabet", [127, 130, 1]), "alphabet"),
    "another alphabet": (put("layers", 0, "planes", 0, "alphabet", [-1, 3, 1]), "3 frequencies for 4 levels"),
    "unknown packing": (put("layers", 0, "planes", 0, "packing", "zip"), "packing"),
    "another packing": (put("layers", 0, "planes", 0, "packing", "bits"), "frequencies"),
    "trits without counts": (
        both(put("layers", 0, "planes", 0, "packing", "trit5"), put("layers", 0, "planes", 0, "counts", [])),
        "codes of '1'",
    ),
    "huge counts": (put("layers", 0, "planes", 0, "counts", [0, HUGE, 0]), "do not add up to 216"),
    "negative counts": (put("layers", 0, "planes", 0, "counts", [-1, 217, 0]), "counts"),
    "counts of one value": (put("layers", 0, "planes", 0, "counts", [0, 216, 0]), "single value"),
    "counts of others": (put("layers", 0, "planes", 0, "counts", [100, 100, 16]), "codes of '1'"),
    "many counts": (put("layers", 0, "planes", 0, "counts", [1] * 216), "216 frequencies for 3 levels"),
    "folded into nothing": (put("folded", [["99", "2"]]), "does not have so"),
    "folded norm that is none": (put("folded", [["1", "3"]]), "does not have so"),
    "folded root": (put("folded", [["1", ""]]), "does not have so"),
    "folded dots": (put("folded", [["..", "."]]), "does not have so"),
    "folded other pair": (put("folded", [["1", "5"]]), "does not have so"),
    "folded twice": (put("folded", [["1", "2"], ["1", "2"]]), "does not have so"),
    "folded without bias": (put("folded", [["1", "2"]]), "has no 'state/1.bias'"),
    "folded three": (put("folded", [["1", "2", "3"]]), "folded"),
    "unknown model": (put("architecture", "model", "name", "resnet21"), "not known here"),
    "model of a module": (put("architecture", "model", "name", "os:system"), "not known here"),
    "model that is a list": (put("architecture", "model", "name", ["tiny"]), "name of the network"),
    "no model": (put("architecture", "model", {}), "name of the network"),
    "another model": (put("architecture", "model", "name", "resnet20"), "no such layer"),
    "unknown option": (put("architecture", "model", "plugins", ["os"]), "no such setting"),
    "weights of a file": (put("architecture", "model", "weights", "/etc/passwd"), "must not name weights"),
    "weights of a library": (put("architecture", "model", "weights", "torchvision"), "must not name weights"),
    "skipped weights": (put("architecture", "model", "weights_skip", ["*"]), "must not name weights"),
    "wrong dropout": (put("architecture", "model", "dropout", 2), "dropout"),
    "more channels": (put("architecture", "channels", 4), "shape"),
    "huge channels": (put("architecture", "channels", HUGE), "channels"),
    "huge size": (put("architecture", "size", HUGE), "size"),
    "no channels": (put("architecture", "channels", 0), "channels"),
    "no classes": (put("architecture", "classes", []), "classes"),
    "classes as a number": (put("architecture", "classes", HUGE), "classes"),
    "more classes": (put("architecture", "classes", ["x"] * 3), "state/10"),
    "no architecture": (put("architecture", None), "does not say which network"),
    "metrics of text": (put("metrics", {"a": "b"}), "metrics"),
    "metrics infinite": (put("metrics", {"a": "inf"}), "metrics"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_forged_files_are_refused(source: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, message = FORGERIES[case]
    # Neither of these may be asked for anything.
    for name in ("read_torchvision", "read_file"):
        monkeypatch.setattr(f"ternlab.models.weights.{name}", None)
    path = forge(source, tmp_path / "forged", change)
    tracemalloc.start()
    try:
        with pytest.raises(TernlabError, match=message) as caught:
            load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, (FileFormatError, SettingsError))
    assert "\n  instead: " in str(caught.value)
    str(caught.value).encode()
    assert peak < 20_000_000
    if case not in ("no architecture",) and "architecture" not in str(change):
        with pytest.raises((FileFormatError, SettingsError)):
            read_codes(path)


def test_the_forger_changes_nothing_by_itself(source: Path, tmp_path: Path) -> None:
    path = forge(source, tmp_path / "same", lambda header, arrays: None)
    assert torch.equal(logits(load(path), 3, 8, 8), logits(load(source), 3, 8, 8))


def test_a_deep_header_is_refused_or_has_no_effect(source: Path, tmp_path: Path) -> None:
    path = forge(source, tmp_path / "deep", put("preprocessing", {"a": DEEP}))
    assert torch.equal(logits(load(path), 3, 8, 8), logits(load(source), 3, 8, 8))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def leaves(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every entry of a header."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, inner in steps for each in [(*way, key), *leaves(inner, (*way, key))]]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_entry_of_the_header_may_be_forged(source: Path, tmp_path: Path, data: st.DataObject, value: Any) -> None:
    header, _ = parts(source.read_bytes())
    way = data.draw(st.sampled_from(leaves(header)))
    path = forge(source, tmp_path / "forged", put(*way, value))
    try:
        network = load(path)
    except (FileFormatError, SettingsError):
        return
    # What no network depends on may be forged, and an equal value is none.
    assert torch.equal(logits(network, 3, 8, 8), logits(load(source), 3, 8, 8))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), junk=st.binary(max_size=40))
def test_any_codes_may_be_forged(source: Path, tmp_path: Path, data: st.DataObject, junk: bytes) -> None:
    _, arrays = parts(source.read_bytes())
    name = data.draw(st.sampled_from(sorted(each for each in arrays if each.startswith("codes/"))))
    path = forge(source, tmp_path / "forged", array(name, np.frombuffer(junk, np.uint8)))
    with pytest.raises(FileFormatError, match="codes of"):
        load(path)


def test_every_truncation_and_flipped_byte_of_a_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net"
    save(quantize(nn.Linear(3, 2), "tga"), path)
    data = path.read_bytes()
    like = nn.Linear(3, 2)
    before = like.weight.clone()
    for place in range(len(data)):
        for changed in (data[:place], data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :]):
            path.write_bytes(changed)
            with pytest.raises(FileFormatError):
                load(path, model=like)
    assert torch.equal(like.weight, before)


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from tests.export import test_packed as here
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
here.save_for_comparison(folder / "there")
here.load(source)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
for case, (change, _) in here.FORGERIES.items():
    try:
        here.load(here.forge(source, folder / "forged", change))
    except here.TernlabError:
        continue
    sys.exit(case)
try:
    torch.empty(2**28)
except RuntimeError:
    sys.exit(0)
sys.exit("the limit does not hold")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_another_process_writes_the_same_bytes_and_no_forgery_makes_it_allocate(source: Path, tmp_path: Path) -> None:
    # One process for both: it takes seconds to import torch.
    save_for_comparison(tmp_path / "here")
    command = [sys.executable, "-c", LIMITED, str(source), str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_a_huge_network_of_a_plugin_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "huge", f"{__name__}:build_huge")
    # Only a network on the meta device can be too large and be counted.
    for size, message in ((8, "parameters"), (9, "cannot be built"), (10, "cannot be built")):
        change = both(put("architecture", "model", "name", "huge"), put("architecture", "size", size))
        with pytest.raises(FileFormatError, match=message):
            load(forge(source, tmp_path / "forged", change))


def build_huge(settings: ModelSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build a network that grows with the image, or fails on it."""
    if size == 10:
        raise KeyError("x")
    return nn.Linear(2**30 if size == 8 else 2**62, 2**10)


def test_another_network_is_refused_and_left_alone(tmp_path: Path) -> None:
    save(quantize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "tga"), tmp_path / "net")
    others = [
        nn.Sequential(nn.Linear(3, 4)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double(),
    ]
    for other in others:
        before = {name: value.clone() for name, value in other.state_dict().items()}
        with pytest.raises(FileFormatError, match="the network that the file is of"):
            load(tmp_path / "net", model=other)
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
        assert other.training
    already = quantize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "tga")
    with pytest.raises(SettingsError, match="quantized already"):
        load(tmp_path / "net", model=already)


class Extra(nn.Linear):
    """Has a state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"a": 1}

    def set_extra_state(self, state: object) -> None:
        raise AssertionError(state)


def test_a_state_that_is_no_tensor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="_extra_state = dict"):
        save(quantize(Extra(3, 2), "tga"), tmp_path / "net")
    save(quantize(nn.Linear(3, 2), "tga"), tmp_path / "net", architecture=tiny_facts(model={"name": "extra"}))
    monkeypatch.setitem(MODELS, "extra", f"{__name__}:build_extra")
    for model in (None, Extra(3, 2)):
        with pytest.raises(FileFormatError, match="has no 'state/_extra_state'"):
            load(tmp_path / "net", model=model)


def build_extra(settings: ModelSettings, channels: int, size: int, classes: int) -> nn.Module:
    return Extra(3, 2)


# A file of the first version, written by it: all packings, two planes, two scales, scales of layers and of filters.
# It must be read for ever; when it is not, the format has changed and needs another version.
GOLDEN = Path(__file__).parent / "packed_version_1.safetensors"


def test_a_file_of_the_first_version_is_still_read() -> None:
    network = load(GOLDEN, model=nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2)))
    weights = [network[0].weight.tolist(), network[1].weight.tolist()]
    assert weights == [
        [[-0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [-0.5, 0.5, 0.5]],
        [[1.25, -1.0, 0.0, 1.25], [0.25, 0.0, -1.0, 0.0]],
    ]
    assert network[1].bias.tolist() == [0.5, -0.5]


def test_an_unknown_packing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="packing = zip: there is no such packing"):
        save(quantize(nn.Linear(3, 4), "twn"), tmp_path / "net", packing="zip")  # type: ignore[arg-type]
    assert not (tmp_path / "net").exists()
