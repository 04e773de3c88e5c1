"""Folded networks compute the same, fold what is exact and nothing else, and leave the original alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torchvision.models import resnet18

from ternlab.core.errors import SettingsError
from ternlab.export.folding import foldable_pairs, inference_network, replace_by_identity
from ternlab.export.header import Architecture
from ternlab.export.packed import load, read_codes, save
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers


def shaken(network: nn.Module) -> nn.Module:
    """Give BatchNorm statistics and factors that it would not have by itself, some of them negative or 0."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
                norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.1)
                if norm.affine:
                    norm.weight.copy_(torch.randn(norm.num_features, generator=generator))
                    norm.weight[0] = 0
                    norm.bias.copy_(torch.randn(norm.num_features, generator=generator))
    return network


@torch.no_grad()
def logits(network: nn.Module, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return copy.deepcopy(network).eval()(torch.randn(3, *(shape or (3, 8, 8)), generator=generator))


def close(one: Tensor, other: Tensor) -> bool:
    """Return whether logits agree to 1e-5 of the largest."""
    return float((one - other).abs().max()) <= 1e-5 * max(1.0, float(other.abs().max()))


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4, padding=1),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.Conv2d(8, 6, 1),
        nn.BatchNorm2d(6, eps=0.1),
        nn.Flatten(),
        nn.Linear(216, 4),
    )


RULES: list[tuple[str, dict[str, Any]]] = [
    ("tga", {}),
    ("twn", {"granularity": "filter"}),
    ("ttq", {}),
    ("sws", {"rel.factors": (0.05, 0.1)}),
    ("bwn", {}),
    ("uniform", {"bits": 8}),
    ("lsq", {"bits": 4, "first_last": "full"}),
]


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_folded_networks_compute_the_same(tmp_path: Path, rule: str, options: dict[str, Any]) -> None:
    model = quantize(shaken(small()), rule, **options)
    before = logits(model)
    found = inference_network(model, fold=True)
    assert found.folded == (("0", "1"), ("3", "4"), ("6", "7"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.network.modules())
    assert close(logits(found.network), before)
    # The scale carries the factor: another network would compute the same with any other codes.
    for name, layer in quantized_layers(model):
        assert torch.equal(found.codes[name].stacked(), codes(layer).stacked())
        weight = dict(found.network.named_modules())[name].weight
        assert torch.equal(found.codes[name].effective(), weight)
    save(model, tmp_path / "net", fold=True)
    loaded = load(tmp_path / "net", model=small())
    assert torch.equal(logits(loaded), logits(found.network))
    for name, each in read_codes(tmp_path / "net", small()).items():
        assert torch.equal(each.stacked(), found.codes[name].stacked())
        assert torch.equal(each.effective(), found.codes[name].effective())


def test_reading_codes_leaves_the_given_network_alone(tmp_path: Path) -> None:
    save(quantize(shaken(small()), "tga"), tmp_path / "net", fold=True)
    like = small()
    before = copy.deepcopy(like)
    read_codes(tmp_path / "net", like)
    assert str(like) == str(before) and like.training
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in like.state_dict().items())


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "alexnet"])
def test_every_network_of_ternlab_is_folded(tmp_path: Path, name: str) -> None:
    model = quantize(shaken(build_model(ModelSettings(name=name), channels=3, size=16, classes=4)), "twn")
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    facts = Architecture(model={"name": name}, channels=3, size=16, classes=tuple("abcd"))
    save(model, tmp_path / "net", fold=True, architecture=facts)
    network = load(tmp_path / "net")
    assert norms > 4 and not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert close(logits(network, 3, 16, 16), logits(model, 3, 16, 16))


def test_networks_of_others_are_folded(tmp_path: Path) -> None:
    model = quantize(shaken(resnet18(num_classes=3)), "sws")
    save(model, tmp_path / "net", fold=True)
    assert close(logits(load(tmp_path / "net", model=resnet18(num_classes=3)), 3, 32, 32), logits(model, 3, 32, 32))


class Net(nn.Module):
    """A convolution, BatchNorm, and a second convolution so that something is quantized in any case."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x)))


class UsedTwice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x)) + self.conv(x))


class NormTwice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.norm(self.conv(x))))


class OutputAlsoUsed(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.last(self.norm(x) + x)


class WeightRead(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x))) * self.conv.weight.mean() + self.norm.weight.mean()


class NormRead(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x))) + self.norm.running_mean.mean()


class Hooked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(lambda module, inputs, output: output.relu())


class HookedNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm.register_forward_pre_hook(lambda module, inputs: (inputs[0].relu(),))


class NoStatistics(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


class WeightNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.conv = weight_norm(self.conv)


class Standardized(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias)


class OwnConvolution(Net):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Standardized(3, 4, 3)


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


class NormOfOthers(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = OwnNorm(4)


class NoVariance(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, eps=0.0)


class Transposed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(3, 4, 3)


UNFOLDED = [
    UsedTwice,
    NormTwice,
    OutputAlsoUsed,
    WeightRead,
    NormRead,
    Hooked,
    HookedNorm,
    NoStatistics,
    WeightNorm,
    OwnConvolution,
    NormOfOthers,
    NoVariance,
    Transposed,
]


# A weight has one parametrization, so a layer with weight_norm is not quantized as well.
@pytest.mark.parametrize(
    ("kind", "full"), [(kind, full) for kind in UNFOLDED for full in (False, True) if full or kind is not WeightNorm]
)
def test_what_cannot_be_folded_exactly_is_left(tmp_path: Path, kind: type[Net], full: bool) -> None:
    torch.manual_seed(0)
    model = quantize(shaken(kind()), "twn", **({"include": ("last",)} if full else {}))
    if kind is NoVariance:
        model.norm.running_var[1] = 0
    save(model, tmp_path / "net", fold=True)
    network = load(tmp_path / "net", model=kind())
    assert isinstance(network.norm, nn.BatchNorm2d)
    # A variance of 0 gives NaN in both.
    assert torch.equal(logits(network).nan_to_num(7.0), logits(model).nan_to_num(7.0))


class Shared(Net):
    """BatchNorm and convolution under several names, and a parameter in two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.alias, self.norm_alias = self.conv, self.norm
        self.other = nn.Conv2d(3, 4, 3)
        self.other.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm_alias(self.alias(x)) + self.other(x))


class Keyword(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(input=self.conv(x)))


@pytest.mark.parametrize("include", [("*",), ("last",)])
def test_shared_modules_are_folded_under_all_names(tmp_path: Path, include: tuple[str, ...]) -> None:
    model = quantize(shaken(Shared()), "twn", include=include)
    save(model, tmp_path / "net", fold=True)
    network = load(tmp_path / "net", model=Shared())
    assert isinstance(network.norm, nn.Identity) and isinstance(network.norm_alias, nn.Identity)
    assert network.alias is network.conv
    assert close(logits(network), logits(model))
    assert not torch.equal(network.other.weight, network.conv.weight)


def test_a_call_with_keywords_is_left(tmp_path: Path) -> None:
    model = quantize(shaken(Keyword()), "twn")
    save(model, tmp_path / "net", fold=True)
    assert close(logits(load(tmp_path / "net", model=Keyword())), logits(model))


class Dynamic(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x))) if x.sum() > 0 else self.last(self.conv(x))


def test_a_network_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    model = quantize(Dynamic(), "twn")
    with pytest.raises(
        SettingsError, match=r"fold_batchnorm = True: the network cannot be traced[\s\S]*packed fold_batchnorm=false"
    ):
        save(model, tmp_path / "net", fold=True)
    assert not (tmp_path / "net").exists()
    save(model, tmp_path / "net")
    assert torch.equal(logits(load(tmp_path / "net", model=Dynamic())), logits(model))


class Modes(Net):
    """Goes another way in training."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.last(x if self.training else self.norm(x))


def test_pairs_are_those_of_evaluation_and_modes_stay() -> None:
    network = Modes()
    network.last.eval()
    assert foldable_pairs(network) == [("conv", "norm")]
    assert network.training and network.norm.training and not network.last.training


def test_the_original_is_left_alone() -> None:
    model = quantize(shaken(small()), "tga")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    found = inference_network(model, fold=True)
    with torch.no_grad():
        for parameter in found.network.parameters():
            parameter.fill_(3)
    assert [type(module) for module in model.modules()] == kinds
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    for _, layer in quantized_layers(model):
        assert latent_weight(layer).grad is not None
    # And again: the first call must not have spoiled the classes that copies share.
    again = inference_network(model).network
    assert type(again[0]) is nn.Conv2d and not any("parametrizations" in name for name in again.state_dict())


def test_other_parametrizations_of_a_layer_keep_their_values(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    nn.utils.parametrize.register_parametrization(model, "bias", nn.Tanh())
    quantize(model, "tga")
    found = inference_network(model).network
    assert type(found) is nn.Linear and torch.equal(logits(found, 3), logits(model, 3))
    save(model, tmp_path / "net")
    assert torch.equal(logits(load(tmp_path / "net", model=nn.Linear(3, 2)), 3), logits(model, 3))


def test_unquantized_parametrizations_stay(tmp_path: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))

    model = quantize(network(), "tga", include=("1",))
    save(model, tmp_path / "net")
    assert torch.equal(logits(load(tmp_path / "net", model=network()), 3), logits(model, 3))


def test_identities_take_every_name() -> None:
    network = Shared()
    replace_by_identity(network, "norm")
    assert isinstance(network.norm_alias, nn.Identity) and isinstance(network.norm, nn.Identity)
