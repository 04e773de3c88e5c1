"""int8 files whose result no CPU can get wrong: proved from the file, and run with a smaller instruction set.

Kernels without VNNI multiply unsigned activations by signed weights and add neighbouring products in 16 bits, which
saturate. A file is safe when no two products of a filter leave 16 bits, whichever inputs are neighbours in a kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import nn

from ternlab.export.integer import with_integer_activations
from ternlab.export.integer_loss import warning
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.onnx_names import INPUT
from ternlab.export.weight_range import LARGEST, filter_scales
from tests.export.digits_network import SHAPE, all_images, digits, trained

NETWORKS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "tga": ("tga", {}),
    "tga but the ends": ("tga", {"first_last": "full"}),
    "two scales": ("ttq", {}),
    "two summands": ("sws", {"rel": {"factors": [0.05, 0.1]}}),
    "two bits": ("lsq", {"bits": 2}),
    "four bits": ("lsq", {"bits": 4}),
    "eight bits": ("lsq", {"bits": 8}),
    "binary": ("bwn", {}),
    "full precision": (None, {}),
}
EXACT = {"tga": {-1, 0, 1}, "binary": {-1, 1}, "two bits": {-2, -1, 0, 1}, "four bits": set(range(-8, 8))}


@pytest.fixture(scope="module", params=NETWORKS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    """Name, network and int8 file."""
    rule, options = NETWORKS[request.param]
    model = trained(rule, **options)
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    batches = [images.numpy() for images, _ in digits().train_dataloader()][:4]
    write_onnx(with_integer_activations(onnx_model(model, SHAPE, integers=False), batches), path, {})
    return request.param, model, path


def filters_of(proto: ModelProto) -> dict[str, NDArray[np.int8]]:
    """Return the integers of each layer's weight, (filters, inputs), by name."""
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in proto.graph.initializer}
    made_by = {name: node for node in proto.graph.node for name in node.output}
    found = {}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        images, weight = (made_by[name] for name in node.input[:2])
        assert images.op_type == weight.op_type == "DequantizeLinear", "every layer computes in integers"
        assert arrays[images.input[2]].dtype == np.uint8, "activations are from 0 to 255"
        integers, scale = arrays[weight.input[0]], arrays[weight.input[1]]
        assert integers.dtype == np.int8
        axis = next(place for place, size in enumerate(integers.shape) if size == scale.size)
        found[weight.input[0]] = np.moveaxis(integers, axis, 0).reshape(scale.size, -1)
    return found


def test_no_pair_of_products_leaves_16_bits(file: tuple[str, nn.Module, Path]) -> None:
    layers = filters_of(onnx.load(file[2]))
    assert len(layers) == 3
    for name, filters in layers.items():
        by_size = np.sort(np.abs(filters.astype(np.int64)), axis=1)
        assert (255 * by_size[:, -2:].sum(1)).max() <= np.iinfo(np.int16).max, name


def test_up_to_six_bits_are_the_codes_themselves(file: tuple[str, nn.Module, Path]) -> None:
    name, _, path = file
    if name not in EXACT:
        return
    for filters in filters_of(onnx.load(path)).values():
        assert set(np.unique(filters).tolist()) <= EXACT[name]


_LOGITS = """
import sys
from pathlib import Path
import numpy as np
from ternlab.export.runtimes import onnx_runtime, openvino_runtime
images = np.load(sys.argv[2])
found = [run(Path(sys.argv[1]), "int8", threads=1).logits(images) for run in (onnx_runtime, openvino_runtime)]
np.save(sys.argv[3], np.stack(found))
"""


def in_float_arithmetic(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of the same graph without integer kernels: each node as it stands, in float32."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {INPUT: images})[0]
    return found


def test_integer_kernels_compute_what_the_graph_says(file: tuple[str, nn.Module, Path], tmp_path: Path) -> None:
    images = all_images()[0].numpy()
    np.save(tmp_path / "images.npy", images)
    # oneDNN, which OpenVINO computes with, can be told to use less than the CPU has; ONNX Runtime has no such switch.
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}
    arguments = [str(file[2]), str(tmp_path / "images.npy"), str(tmp_path / "logits.npy")]
    subprocess.run([sys.executable, "-c", _LOGITS, *arguments], env=limited, check=True)
    expected = in_float_arithmetic(file[2], images)
    for found in np.load(tmp_path / "logits.npy"):
        # Runtimes may round a sum the other way; saturation moved the logits by 5 % of the largest.
        assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()


# --- the scales of the filters


@given(
    st.integers(1, LARGEST).flatmap(lambda top: st.lists(st.integers(-top, top), min_size=1, max_size=40)),
    st.floats(2.0**-20, 2.0**10),
)
@settings(deadline=None)
def test_integers_times_a_scale_are_kept_exactly(codes: list[int], scale: float) -> None:
    weights = (np.array([codes], np.float64) * scale).astype(np.float32)
    found = filter_scales(weights)
    integers = np.rint(weights / found[:, None])
    assert found[0] > 0
    assert np.abs(integers).max() <= LARGEST
    np.testing.assert_allclose(integers * found[:, None], weights, rtol=1e-5, atol=1e-6 * np.abs(weights).max())


def test_other_weights_are_rounded_to_the_widest_range() -> None:
    weights = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    np.testing.assert_allclose(filter_scales(weights), np.abs(weights).max(1) / LARGEST, rtol=1e-6)


def test_a_filter_of_zeros_has_a_scale() -> None:
    np.testing.assert_allclose(filter_scales(np.array([[0, 0], [0.5, -0.5]], np.float32)), [0.5, 0.5])
    np.testing.assert_allclose(filter_scales(np.zeros((2, 3), np.float32)), [1, 1])


# --- the warning


@pytest.mark.parametrize(("int8", "words"), [(98.0, None), (99.0, None), (97.9, "loses 1.10 points"), (100.2, "gains")])
def test_more_than_a_point_is_said(int8: float, words: str | None) -> None:
    said = warning("model.onnx", int8, 99.0)
    assert (said is None) if words is None else (said is not None and words in said and "99.00 % in torch" in said)
