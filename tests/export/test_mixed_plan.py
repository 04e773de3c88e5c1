"""Networks whose layers have rules of their own, in every kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from ternlab.export.accounting import sizes
from ternlab.export.coding import packed_bytes
from ternlab.export.container import read_container
from ternlab.export.folding import inference_network
from ternlab.export.header import Packing
from ternlab.export.info import info
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.packed import load, read_codes, save
from ternlab.export.runtimes import onnx_runtime
from ternlab.export.summary import summary
from ternlab.models.stem import StemDropoutSettings
from ternlab.quantizers.attach import codes, quantized_layers
from tests.export.digits_network import SHAPE, all_images, trained
from tests.tiny import build

# The layers of the network: two convolutions, 1 and 4, and a linear layer, 10.
PLANS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bits": (
        "tga",
        {"layers": [{"match": "1", "name": "uniform", "bits": 5}, {"match": "10", "name": "lsq", "bits": 2}]},
    ),
    "planes": (
        "bwn",
        {"layers": [{"match": "4", "name": "sws", "rel.factors": [0.05, 0.1]}, {"match": "1", "name": "ttq"}]},
    ),
    "full precision": ("twn", {"granularity": "filter", "layers": [{"match": "10", "name": "none"}]}),
    "mapping": ({"4": {"name": "lsq", "bits": 8, "granularity": "filter"}, "1*": "seq"}, {}),
}
PACKINGS: tuple[Packing, ...] = ("trit5", "bits", "entropy")


@pytest.fixture(scope="module", params=PLANS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    rule, options = PLANS[request.param]
    return trained(rule, steps=10, **options)


def plain() -> nn.Module:
    return build(StemDropoutSettings(name="tiny"), 1, 8, 10)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_file_gives_back_codes_and_logits_bit_for_bit(
    model: nn.Module, packing: Packing, tmp_path: Path
) -> None:
    path = tmp_path / "packed.safetensors"
    save(model, path, packing=packing)
    loaded = load(path, plain())
    images = all_images()[0]
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    found = read_codes(path, plain())
    expected = {name: codes(layer) for name, layer in quantized_layers(model)}
    assert found.keys() == expected.keys()
    for name, own in expected.items():
        for plane, twin in zip(found[name].planes, own.planes, strict=True):
            assert plane.alphabet == twin.alphabet
            assert torch.equal(plane.codes, twin.codes) and torch.equal(plane.effective(), twin.effective())
    levels = {layer["name"]: layer["levels"] for layer in info(path)["layers"]}
    assert levels == {name: [len(plane.alphabet) for plane in own.planes] for name, own in expected.items()}


@pytest.mark.parametrize("packing", ["trit5", "bits"])
def test_codes_take_the_bytes_of_each_layer_s_alphabet(model: nn.Module, packing: Packing, tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    save(model, path, packing=packing)
    _, arrays = read_container(path)
    for name, layer in quantized_layers(model):
        for number, plane in enumerate(codes(layer).planes):
            levels, count = len(plane.alphabet), plane.codes.numel()
            whole = -(-count * (levels - 1).bit_length() // 8)
            wanted = -(-count // 5) if packing == "trit5" and levels == 3 else whole
            assert arrays[f"codes/{name}/{number}"].nbytes == wanted
            if packing == "trit5":
                assert packed_bytes(count, levels) == wanted


def test_sizes_are_sums_over_the_layers_of_their_own_bits(model: nn.Module) -> None:
    found = {name: codes(layer) for name, layer in quantized_layers(model)}
    bits = 0
    for name, parameter in plain().named_parameters():
        planes = found[name.removesuffix(".weight")].planes if name.removesuffix(".weight") in found else ()
        for plane in planes:
            scales = plane.scale.numel() * (1 if plane.negative_scale is None else 2)
            bits += parameter.numel() * (len(plane.alphabet) - 1).bit_length() + 32 * scales
        bits += 0 if planes else 32 * parameter.numel()
    assert sizes(model).quantized_bytes == -(-bits // 8)


@pytest.mark.parametrize("fold", [False, True])
def test_inference_network_and_folding_follow_the_plan(model: nn.Module, fold: bool, tmp_path: Path) -> None:
    images = all_images()[0]
    inference = inference_network(model, fold=fold)
    with torch.inference_mode():
        expected, found = model(images), inference.network(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()) if fold else 0)
    path = tmp_path / "packed.safetensors"
    save(model, path, fold=fold)
    with torch.inference_mode():
        assert torch.equal(load(path, plain())(images), found)


def test_onnx_has_the_integers_of_each_rule_and_the_same_logits(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(onnx_model(model, SHAPE, integers=True), path, {"run_id": "a-run"})
    graph = onnx.load(path).graph
    integers = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer if entry.name.endswith("codes")}
    for name, layer in quantized_layers(model):
        own = [array for full, array in integers.items() if full.startswith(f"{name}.weight.")]
        summed = sum((array.astype(np.int64) for array in own), np.zeros(1, np.int64))
        assert np.array_equal(summed, codes(layer).stacked().sum(0, dtype=torch.int64).numpy())
    images = all_images()[0]
    with torch.inference_mode():
        expected = model(images).numpy()
    found = onnx_runtime(path, "float32").logits(images.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_summary_names_the_rule_and_the_bits_of_each_layer() -> None:
    rule, options = PLANS["bits"]
    found = summary(trained(rule, steps=1, **options), SHAPE)
    assert [(layer.name, layer.rule, layer.codes.bits) for layer in found.layers if layer.codes] == [
        ("1", "uniform5", 5),
        ("4", "tga", 2),
        ("10", "lsq2", 2),
    ]
    table = {line.split()[0]: line.split()[1] for line in str(found).splitlines()[1:4]}
    assert table == {"1": "uniform5", "4": "tga", "10": "lsq2"}
    first, second, third = found.layers
    assert first.additions is None and third.additions is None, "codes beyond 1 still multiply"
    assert second.additions is not None and first.multiplications is not None and first.macs is not None
    assert first.multiplications > first.macs
