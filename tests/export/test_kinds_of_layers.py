"""Convolutions of any dimension, transposed ones and attention: packed, counted and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import ternlab
from ternlab.export.container import FileFormatError
from ternlab.export.header import Packing
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.packed import load, read_codes, save
from ternlab.export.runtimes import onnx_runtime
from ternlab.quantizers.attach import quantize
from ternlab.quantizers.weights import quantized_weights
from tests.export.forging import parts

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "tga": ("tga", {}),
    "twn of filters": ("twn", {"granularity": "filter"}),
    "ttq": ("ttq", {"first_scale": "mean"}),
    "planes of filters": ("sws", {"granularity": "filter", "rel.factors": (0.05, 0.3)}),
    "lsq 4": ("lsq", {"bits": 4, "granularity": "filter"}),
}


class Kinds(nn.Module):
    """One layer of each kind, for images of 3 x 8 x 8."""

    def __init__(self, **attention: Any) -> None:
        super().__init__()
        self.one = nn.Conv1d(3, 4, 3, padding=1)
        self.three = nn.Conv3d(1, 2, (1, 3, 3), bias=False)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, groups=2)
        self.up1 = nn.ConvTranspose1d(6, 5, 2)
        self.up3 = nn.ConvTranspose3d(1, 2, (1, 2, 2), groups=1)
        self.attn = nn.MultiheadAttention(12, 2, **attention)
        self.narrow = attention.get("kdim", 12)
        self.fc = nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.one(images.flatten(2))
        x = self.three(x.unflatten(2, (8, 8)).unsqueeze(1)).flatten(1, 2)
        x = self.up(x)
        x = self.up1(x.flatten(2))[..., :121].unflatten(2, (11, 11))
        x = self.up3(x.unsqueeze(1)).flatten(1, 2)
        query = x.flatten(2)[:, :, :12].transpose(0, 1)
        # torch's matmul sums in another order where the input is not contiguous and the weight requires no gradient.
        key = query[..., : self.narrow].contiguous()
        return self.fc(self.attn(query, key, key)[0].mean(0))  # type: ignore[no-any-return]


SEPARATE = {"kdim": 6, "vdim": 6}
LAYERS = ("one", "three", "up", "up1", "up3")


def trained(rule: str, **attention: Any) -> nn.Module:
    torch.manual_seed(1)
    name, options = RULES[rule]
    model = quantize(Kinds(**attention), name, **options)
    step = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        step.zero_grad()
        model(torch.randn(4, 3, 8, 8)).square().mean().backward()
        step.step()
    return model


def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def logits(network: nn.Module) -> Tensor:
    return network.eval()(images())


@pytest.mark.parametrize("packing", ["trit5", "bits", "entropy"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("attention", [{}, SEPARATE], ids=["one matrix", "three matrices"])
def test_every_kind_comes_back_bit_for_bit(
    tmp_path: Path, rule: str, packing: Packing, attention: dict[str, Any]
) -> None:
    model = trained(rule, **attention)
    save(model, tmp_path / "net", packing=packing)
    found = read_codes(tmp_path / "net", Kinds(**attention))
    weights = list(quantized_weights(model))
    projections = [f"attn.{name}_proj_weight" for name in "qkv"] if attention else ["attn.in_proj_weight"]
    assert [*found] == [weight.name for weight in weights] == [*LAYERS, *projections, "attn.out_proj", "fc"]
    for weight in weights:
        for own, other in zip(weight.codes().planes, found[weight.name].planes, strict=True):
            assert torch.equal(own.codes, other.codes) and torch.equal(own.scale, other.scale)
        assert torch.equal(found[weight.name].effective(), weight.value)
    network = load(tmp_path / "net", Kinds(**attention))
    assert not any("parametrizations" in name for name in network.state_dict())
    assert torch.equal(logits(network), logits(model))


def test_the_file_says_what_stays_in_full_precision(tmp_path: Path) -> None:
    model = quantize(Kinds(), "twn", exclude=["attn.*", "fc"])
    save(model, tmp_path / "net")
    found = ternlab.info(tmp_path / "net")["full_precision"]
    assert found["weights"] == {"attn.in_proj_weight": 36 * 12, "attn.out_proj": 144, "fc": 48}
    assert found["others"] == 4 + 6 + 5 + 2 + 36 + 12 + 4
    assert found["parameters"] == 432 + 144 + 48 + 69
    total = sum(parameter.numel() for parameter in Kinds().parameters())
    assert found["share"] == pytest.approx(found["parameters"] / total)
    header, _ = parts((tmp_path / "net").read_bytes())
    assert header["full_precision"] == found


@pytest.mark.parametrize("other", [{"groups": 1}, {"groups": 4}])
def test_scales_of_filters_must_fit_the_groups(tmp_path: Path, other: dict[str, Any]) -> None:
    save(quantize(nn.ConvTranspose2d(8, 8, 3, groups=2), "bwn"), tmp_path / "net")
    # Another number of groups is another shape of the weight, so it is made to fit.
    wrong = nn.ConvTranspose2d(8, 8, 3, groups=2)
    wrong.groups = other["groups"]
    with pytest.raises(FileFormatError, match="neither per layer nor per filter"):
        load(tmp_path / "net", wrong)
    save(quantize(nn.Conv2d(4, 8, 3, bias=False), "bwn"), tmp_path / "conv")
    with pytest.raises(FileFormatError, match="neither per layer nor per filter"):
        load(tmp_path / "conv", nn.ConvTranspose2d(8, 4, 3, bias=False))


# --- counting ----------------------------------------------------------------------------------------------------


def products(model: nn.Module) -> dict[str, int]:
    """Return torch's own count of multiply-accumulates, by the name of the module."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 8, 8))
    return {
        name.removeprefix("Kinds."): sum(
            count // 2 for operation, count in counts.items() if "bmm" not in str(operation)
        )
        for name, counts in counter.get_flop_counts().items()
    }


@pytest.mark.parametrize("attention", [{}, SEPARATE], ids=["one matrix", "three matrices"])
@pytest.mark.parametrize("rule", [None, "bwn", "lsq 4"])
def test_macs_are_those_that_torch_counts(rule: str | None, attention: dict[str, Any]) -> None:
    model = Kinds(**attention)
    expected = products(model)
    if rule is not None:
        quantize(model, rule.split()[0])
    found = ternlab.summary(model, (3, 8, 8))
    by_name = {layer.name: layer.macs for layer in found.layers}
    for name in (*LAYERS, "fc"):
        assert by_name[name] == expected[name], name
    of_attention = sum(macs or 0 for name, macs in by_name.items() if name.startswith("attn"))
    assert of_attention == expected["attn"]
    assert found.uncounted == () and found.macs == sum(expected[name] for name in (*LAYERS, "fc", "attn"))
    if rule == "bwn":
        assert found.additions == found.macs, "every code is used as often as its weight"


def test_attention_between_sequences_of_two_lengths() -> None:
    class Crosses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.attn(query=tokens[:, :2], key=tokens, value=tokens)[0]  # type: ignore[no-any-return]

    inward, out = ternlab.summary(quantize(Crosses(), "bwn"), (5, 4)).layers
    assert (inward.macs, out.macs) == ((2 + 5 + 5) * 16, 2 * 16)
    assert (inward.additions, out.additions) == (None, 2 * 16), "rows of one matrix are used 2 and 5 times"


class Recurrent(nn.Module):
    """Layers whose operations are not counted: a recurrent one, and one whose weight the network reads itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.read = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 2)
        self.idle = nn.Linear(8, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(nn.functional.linear(self.lstm(tokens)[0], self.read.weight))  # type: ignore[no-any-return]


@pytest.mark.parametrize("quantized", [True, False])
def test_unknown_operations_are_a_dash_and_named(quantized: bool) -> None:
    model = quantize(Recurrent(), "twn") if quantized else Recurrent()
    found = ternlab.summary(model, (3, 8))
    assert [layer.macs for layer in found.layers] == [None, 3 * 16, 0]
    assert found.uncounted == ("read", "lstm.weight_ih_l0", "lstm.weight_hh_l0")
    rows = {line.split()[0]: line.split() for line in str(found).splitlines() if line}
    assert rows["read"][-2:] == ["-", "-"] and rows["lstm.weight_ih_l0"][-2:] == ["-", "-"]
    assert rows["idle"][-2] == "0"
    assert "not counting read, lstm.weight_ih_l0, lstm.weight_hh_l0" in str(found)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["full_precision"]["weights"].keys() >= {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    if quantized:
        assert "full precision" in str(found) and f"{100 * found.in_full.share:.1f} % of the parameters" in str(found)


# --- exporting ---------------------------------------------------------------------------------------------------


class Upscales(nn.Module):
    """Transposed convolutions with and without groups."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1)
        self.grouped = nn.ConvTranspose2d(6, 4, 2, groups=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.grouped(self.up(self.down(images)).relu()).flatten(2).mean(2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("rule", RULES)
def test_transposed_convolutions_in_onnx(tmp_path: Path, rule: str) -> None:
    torch.manual_seed(0)
    name, options = RULES[rule]
    model = quantize(Upscales(), name, **options).eval()
    proto = onnx_model(model, (3, 8, 8), integers=True)
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in proto.graph.initializer}
    assert all(array.dtype == np.int8 for key, array in arrays.items() if key.endswith(".codes"))
    assert {key.split(".")[0] for key in arrays if key.endswith(".codes")} == {"down", "up", "grouped"}
    write_onnx(proto, tmp_path / "model.onnx", {})
    found = onnx_runtime(tmp_path / "model.onnx", "").logits(images().numpy())
    np.testing.assert_allclose(found, logits(model).numpy(), atol=1e-4 * float(logits(model).abs().max()))


def test_attention_in_onnx(tmp_path: Path) -> None:
    model = trained("tga")
    proto = onnx_model(model, (3, 8, 8), integers=True)
    codes = [entry.name for entry in proto.graph.initializer if entry.name.endswith(".codes")]
    assert len(codes) == len(list(quantized_weights(model)))
    write_onnx(proto, tmp_path / "model.onnx", {})
    found = onnx_runtime(tmp_path / "model.onnx", "").logits(images().numpy())
    np.testing.assert_allclose(found, logits(model).numpy(), atol=1e-4 * float(logits(model).abs().max()))
