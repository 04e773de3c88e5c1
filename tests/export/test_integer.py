"""ONNX files with int8 activations: what lies inside, and what runtimes compute, whatever the CPU's instructions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from torch import nn

from ternlab.export.folding import inference_network
from ternlab.export.integer import METHODS, with_integer_activations
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.runtimes import INPUT
from ternlab.export.scoring import top1
from tests.export.digits_network import SHAPE, all_images, digits, trained
from tests.export.onnx_helpers import HEADER, RUNTIMES, arrays, logits_of

RULES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "tga": ("tga", {}),
    "tga but the ends": ("tga", {"first_last": "full"}),
    "ttq": ("ttq", {}),
    "rel4": ("sws", {"rel": {"factors": [0.02, 0.05, 0.1, 0.15]}}),
    "lsq8": ("lsq", {"bits": 8}),
    "full precision": (None, {}),
}
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Exported:
    """A network, its int8 file, and the logits that the file's own arithmetic gives for all test images."""

    model: nn.Module
    path: Path
    logits: NDArray[np.float32]


def exported(rule: str, method: str, folder: Path) -> Exported:
    name, options = RULES[rule]
    model = trained(name, **options)
    batches = [images.numpy() for images, _ in digits().train_dataloader()][:4]
    proto = with_integer_activations(onnx_model(model, SHAPE, integers=False), batches, method)
    write_onnx(proto, folder / "model.onnx", HEADER)
    # Dequantizes everything and computes in float: no kernel for integers has a part in it.
    found: NDArray[np.float32] = ReferenceEvaluator(proto).run(None, {INPUT: all_images()[0].numpy()})[0]
    return Exported(model, folder / "model.onnx", found)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """The int8 file of a network under each rule."""
    return {rule: exported(rule, "minmax", tmp_path_factory.mktemp("int8")) for rule in RULES}


@pytest.fixture(params=RULES)
def file(request: pytest.FixtureRequest, files: dict[str, Exported]) -> Exported:
    """One of the files."""
    return files[request.param]


@pytest.fixture(scope="module", params=METHODS)
def ternary(
    request: pytest.FixtureRequest, files: dict[str, Exported], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """The int8 file of a ternary network with each way of calibration."""
    if request.param == "minmax":
        return files["tga"]
    return exported("tga", request.param, tmp_path_factory.mktemp("int8"))


def percent_right(logits: NDArray[np.float32]) -> float:
    return 100 * float((logits.argmax(1) == all_images()[1].numpy()).mean())


# --- what is inside


def weights_of_layers(proto: ModelProto) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Yield the name of each layer, its integers (filters, inputs) and the type of its input, as an empty array."""
    found = arrays(proto)
    makers = {output: node for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        images, weight = (makers[name] for name in node.input[:2])
        assert (images.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        integers, axis = found[weight.input[0]], weight.attribute[0].i
        yield node.name, np.moveaxis(integers, axis, 0).reshape(integers.shape[axis], -1), found[images.input[2]]


def test_no_two_products_of_a_filter_leave_16_bits(file: Exported) -> None:
    """Kernels without VNNI add the products of two neighbouring inputs in 16 bits, and saturate.

    Which inputs are neighbours is the kernel's choice, so the two largest weights of each sign are taken. The kernels
    take unsigned inputs: uint8 as they are, int8 plus 128; so an input is up to 255 for both, zero point or not.
    """
    layers = list(weights_of_layers(onnx.load(file.path)))
    assert len(layers) == 3
    for name, integers, zero_point in layers:
        assert integers.dtype == np.int8 and zero_point.dtype in (np.uint8, np.int8)
        ordered = np.sort(255 * integers.astype(np.int64), axis=1)
        assert ordered[:, -2:].clip(min=0).sum(1).max() <= np.iinfo(np.int16).max, name
        assert ordered[:, :2].clip(max=0).sum(1).min() >= np.iinfo(np.int16).min, name


def test_weights_are_near_and_zeros_are_zeros(file: Exported) -> None:
    found = arrays(onnx.load(file.path))
    network = inference_network(file.model, fold=True).network
    for name in ("1", "4", "10"):
        integers, scale, zero = (found[f"{name}.weight_{part}"] for part in ("quantized", "scale", "zero_point"))
        expected = network.get_submodule(name).weight.detach().numpy()  # type: ignore[operator, union-attr]
        # torch exports a linear layer with its weight transposed or not.
        integers = integers if integers.shape == expected.shape else integers.T
        assert not zero.any() and len(scale) == len(expected)
        of_filters = scale.reshape(-1, *[1] * (expected.ndim - 1))
        largest = np.abs(expected).max(tuple(range(1, expected.ndim)), keepdims=True)
        assert (np.abs(integers * of_filters - expected) <= largest / 64 + 1e-9).all()
        assert not integers[expected == 0].any()


def test_ternary_weights_are_their_codes(ternary: Exported) -> None:
    found = arrays(onnx.load(ternary.path))
    for name, codes in inference_network(ternary.model, fold=True).codes.items():
        integers, scale = found[f"{name}.weight_quantized"], found[f"{name}.weight_scale"]
        expected = codes.planes[0].codes.numpy()
        np.testing.assert_array_equal(integers if integers.shape == expected.shape else integers.T, expected)
        used = expected.reshape(len(expected), -1).any(1)
        scales = codes.planes[0].scale.expand(codes.planes[0].codes.shape).reshape(len(expected), -1)[:, 0]
        np.testing.assert_allclose(scale[used], np.abs(scales.numpy())[used], rtol=1e-6)


def test_int8_activations_are_in_the_graph(ternary: Exported) -> None:
    proto = onnx.load(ternary.path)
    quantized = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) >= 3
    assert not any(array.ndim > 1 and array.dtype == np.float32 for array in arrays(proto).values())
    assert {entry.key for entry in proto.metadata_props} == {"ternlab"}
    assert str(ROOT).encode() not in ternary.path.read_bytes()


class OtherLayers(nn.Module):
    """A linear layer on the last of four dimensions, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 6, bias=False)
        self.transposed = nn.ConvTranspose2d(1, 3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, 8, 8) to (batch, 3)."""
        return self.transposed(self.linear(images)).mean((2, 3))  # type: ignore[no-any-return]


def test_other_layers_keep_to_the_range_too() -> None:
    torch.manual_seed(0)
    images = all_images()[0][:64].numpy()
    proto = with_integer_activations(onnx_model(OtherLayers(), SHAPE, integers=False), [images])
    assert {node.op_type for node in proto.graph.node} >= {"MatMul", "ConvTranspose"}
    integers = {name: array for name, array in arrays(proto).items() if array.dtype == np.int8 and array.ndim > 1}
    assert len(integers) == 2
    assert all(32 < np.abs(array).max() <= 64 for array in integers.values())
    # One scale a filter: 6 and 3.
    assert sorted(len(arrays(proto)[name.replace("_quantized", "_scale")]) for name in integers) == [3, 6]


# --- what it computes


@pytest.mark.parametrize("name", RUNTIMES)
def test_int8_loses_less_than_a_point(ternary: Exported, name: str) -> None:
    expected = percent_right(logits_of(ternary.model))
    found = top1(RUNTIMES[name](ternary.path, "int8"), digits().test_dataloader())
    assert abs(found - expected) <= 1


def assert_same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Assert that logits differ by rounding alone: an activation that lies between two integers may take either."""
    apart = np.abs(found - expected)
    assert apart.mean() <= 4e-3 * np.abs(expected).max()
    assert apart.max() <= 0.04 * np.abs(expected).max()
    assert abs(percent_right(found) - percent_right(expected)) <= 1


@pytest.mark.parametrize("name", RUNTIMES)
def test_kernels_for_integers_compute_what_the_file_says(file: Exported, name: str) -> None:
    assert_same(RUNTIMES[name](file.path, "").logits(all_images()[0].numpy()), file.logits)


@pytest.mark.parametrize(
    ("limit", "beyond"),
    [("SSE41", ("avx", "amx")), ("AVX2", ("avx512", "vnni", "amx")), ("AVX512_CORE", ("vnni", "amx"))],
)
def test_openvino_computes_the_same_with_fewer_instructions(
    files: dict[str, Exported], limit: str, beyond: tuple[str, ...], tmp_path: Path
) -> None:
    """ONNX Runtime has no such switch: it takes the best kernels that the CPU has, which the test above has run."""
    np.save(tmp_path / "images.npy", all_images()[0].numpy())
    paths = [file.path for file in files.values()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.int8_process", "images.npy", "logits.npz", *paths],
        cwd=tmp_path,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": limit, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kernels = done.stdout.split()
    assert len(kernels) == 2 * len(files) and all(kernel.endswith("_I8") for kernel in kernels), "computed in float"
    assert not any(word in kernel for kernel in kernels for word in beyond), kernels
    for file, logits in zip(files.values(), np.load(tmp_path / "logits.npz").values(), strict=True):
        assert_same(logits, file.logits)
