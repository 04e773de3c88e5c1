"""ONNX files in ONNX Runtime and OpenVINO against torch, and what lies inside of them."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.export.folding import inference_network
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.packed import load, save
from ternlab.export.runtimes import INPUT, Runtime, onnx_runtime
from ternlab.quantizers.attach import quantize
from tests.export.digits_network import SHAPE, all_images, trained
from tests.export.onnx_helpers import HEADER, RUNTIMES, arrays, logits_of, save_onnx

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "tga": ("tga", {}),
    "ttq": ("ttq", {}),
    "rel2": ("sws", {"rel": {"factors": [0.05, 0.1]}}),
    "lsq8": ("lsq", {"bits": 8}),
    "bwn": ("bwn", {}),
    "tga but the ends": ("tga", {"first_last": "full"}),
}
LAYERS = ("1", "4", "10")


@pytest.fixture(scope="module", params=RULES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A quantized network and its ONNX file."""
    rule, options = RULES[request.param]
    model = trained(rule, **options)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert save_onnx(model, path, SHAPE, HEADER) == path.stat().st_size
    return model, path


def in_batches(runtime: Runtime, size: int, count: int) -> NDArray[np.float32]:
    images = all_images()[0][:count].numpy()
    return np.concatenate([runtime.logits(images[start : start + size]) for start in range(0, count, size)])


# --- what it computes


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_gives_the_logits_of_torch(exported: tuple[nn.Module, Path], name: str) -> None:
    model, path = exported
    expected = logits_of(model)
    runtime = RUNTIMES[name](path, "")
    found = in_batches(runtime, 64, len(expected))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).all()
    # One image alone, and seven, which leave a rest.
    for size in (1, 7):
        np.testing.assert_allclose(in_batches(runtime, size, 24), found[:24], atol=1e-4 * np.abs(expected).max())


def test_the_networks_know_the_digits(exported: tuple[nn.Module, Path]) -> None:
    # Otherwise equal classes would say little.
    found, labels = logits_of(exported[0]).argmax(1), all_images()[1].numpy()
    assert (found == labels).mean() > 0.6
    assert len(set(found)) >= 9


# --- what is inside


def test_quantized_weights_are_integers_and_nothing_else(exported: tuple[nn.Module, Path]) -> None:
    model, path = exported
    proto = onnx.load(path)
    found = arrays(proto)
    names = set(inference_network(model).codes)
    integers = {name: array for name, array in found.items() if name.endswith(".codes")}
    assert {name.split(".")[0] for name in integers} == names
    assert all(array.dtype == np.int8 for array in integers.values())
    in_float = [name for name, array in found.items() if array.ndim > 1 and array.dtype != np.int8]
    assert {name.split(".")[0] for name in in_float} == set(LAYERS) - names
    readers = [node.op_type for node in proto.graph.node for name in node.input if name in integers]
    assert readers == ["DequantizeLinear"] * len(integers)
    # No weights are hidden in the nodes.
    assert "Constant" not in {node.op_type for node in proto.graph.node if node.ByteSize() > 500}


def test_integers_times_scales_are_the_weights(exported: tuple[nn.Module, Path]) -> None:
    model, path = exported
    found = arrays(onnx.load(path))
    for name, codes in inference_network(model, fold=True).codes.items():
        expected = codes.effective().numpy()
        total = np.zeros_like(expected)
        for key in [key for key in found if key.startswith(f"{name}.weight.") and key.endswith(".codes")]:
            scale = found[key.replace(".codes", ".scale")]
            assert scale.shape == expected.shape[:1] and scale.dtype == np.float32
            total += found[key] * scale.reshape(-1, *[1] * (expected.ndim - 1))
        np.testing.assert_allclose(total, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_codes_are_those_of_the_rule(exported: tuple[nn.Module, Path]) -> None:
    model, path = exported
    found = arrays(onnx.load(path))
    for name, codes in inference_network(model).codes.items():
        of_layer = [found[key] for key in sorted(found) if key.startswith(f"{name}.weight.") and key.endswith(".codes")]
        if codes.planes[0].negative_scale is not None:
            of_layer = [of_layer[0] + of_layer[1]]
        for plane, array in zip(codes.planes, of_layer, strict=True):
            np.testing.assert_array_equal(array, plane.codes.numpy())


def test_batch_norm_is_folded(exported: tuple[nn.Module, Path]) -> None:
    operations = {node.op_type for node in onnx.load(exported[1]).graph.node}
    assert "BatchNormalization" not in operations
    assert "Conv" in operations


def test_header_opset_and_free_batch_are_in_the_file(exported: tuple[nn.Module, Path]) -> None:
    proto = onnx.load(exported[1])
    assert {entry.key: json.loads(entry.value) for entry in proto.metadata_props} == {"ternlab": HEADER}
    (opset,) = (entry.version for entry in proto.opset_import if entry.domain == "")
    assert opset >= 18
    (images,) = proto.graph.input
    batch, *shape = images.type.tensor_type.shape.dim
    assert images.name == INPUT
    assert [side.dim_value for side in shape] == list(SHAPE)
    assert batch.dim_param and not batch.dim_value


def test_no_path_of_this_machine_is_in_the_file(exported: tuple[nn.Module, Path]) -> None:
    data = exported[1].read_bytes()
    root = str(Path(__file__).parents[2])
    for words in (root, "site-packages", ".py", "/tmp", str(Path.home()) + "/", f"/{getpass.getuser()}/"):
        assert words.encode() not in data, words


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    model = trained("tga")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_onnx(model, tmp_path / "model.onnx", SHAPE, {})
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("fold", [False, True])
def test_a_loaded_packed_network_is_exported(fold: bool, tmp_path: Path) -> None:
    model = trained("tga")
    save(model, tmp_path / "packed", fold=fold)
    plain = load(tmp_path / "packed", trained(None))
    write_onnx(onnx_model(plain, SHAPE, integers=False), tmp_path / "model.onnx", {})
    expected = logits_of(model)
    found = in_batches(onnx_runtime(tmp_path / "model.onnx", ""), 64, len(expected))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.layer(images)
        return found if float(found.sum()) > 0 else -found


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"cannot be traced|cannot export"):
        onnx_model(quantize(Branching(), "tga"), SHAPE, integers=True)
