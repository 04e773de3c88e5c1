"""Packed files give back the trained network bit for bit, or one error; never another network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.export.accounting import code_size, entropy
from ternlab.export.container import FileFormatError
from ternlab.export.header import Architecture, Packing
from ternlab.export.packed import load, read_codes, save
from ternlab.export.packed_planes import write_plane
from ternlab.models.build import build_model
from ternlab.models.entry import ModelEntry
from ternlab.models.registry import MODELS
from ternlab.models.settings import ModelSettings
from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers
from ternlab.quantizers.base import Codes, Plane
from tests import tiny
from tests.export.forging import parts

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
    monkeypatch.setitem(MODELS, "buffers", ModelEntry(f"{__name__}:build_buffers", ModelSettings))
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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        write_plane({}, "a/0", plane, "trit5", (1, 1))
    below = Plane(torch.tensor([[0, -2]], dtype=torch.int8), torch.tensor(1.0))
    between = Plane(torch.tensor([[0, 1]], dtype=torch.int8), torch.tensor(1.0), range(-1, 2, 2))
    for wrong in (below, between):
        with pytest.raises(SettingsError, match="outside of its alphabet"):
            write_plane({}, "a/0", wrong, "bits", (1, 1))
    scale = Plane(torch.ones(2, 2, dtype=torch.int8), torch.ones(1, 2))
    with pytest.raises(SettingsError, match="neither per layer nor per filter"):
        write_plane({}, "a/0", scale, "trit5", (2, 1))


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
