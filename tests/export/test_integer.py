"""ONNX files with int8 activations in ONNX Runtime and OpenVINO against torch, and what lies inside of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from ternlab.export.folding import inference_network
from ternlab.export.integer import METHODS, with_integer_activations
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.scoring import top1
from tests.export.digits_network import SHAPE, all_images, digits, trained
from tests.export.onnx_helpers import HEADER, RUNTIMES, arrays, logits_of


@pytest.fixture(scope="module", params=METHODS)
def in_int8(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = trained("tga")
    batches = [images.numpy() for images, _ in digits().train_dataloader()][:4]
    proto = with_integer_activations(onnx_model(model, SHAPE, integers=False), batches, request.param)
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    write_onnx(proto, path, HEADER)
    return model, path


@pytest.mark.parametrize("name", RUNTIMES)
def test_int8_loses_less_than_a_point(in_int8: tuple[nn.Module, Path], name: str) -> None:
    model, path = in_int8
    expected = 100 * float((logits_of(model).argmax(1) == all_images()[1].numpy()).mean())
    found = top1(RUNTIMES[name](path, "int8"), digits().test_dataloader())
    assert abs(found - expected) <= 1


def test_int8_weights_are_exact(in_int8: tuple[nn.Module, Path]) -> None:
    model, path = in_int8
    found = arrays(onnx.load(path))
    for name, codes in inference_network(model, fold=True).codes.items():
        stem = f"{name}.weight"
        integers, scale, zero = (found[f"{stem}_{part}"] for part in ("quantized", "scale", "zero_point"))
        assert integers.dtype == np.int8 and not zero.any()
        expected = codes.effective().numpy()
        # torch exports a linear layer with its weight transposed or not.
        axis = list(integers.shape).index(len(scale))
        total = integers * scale.reshape([-1 if place == axis else 1 for place in range(integers.ndim)])
        total = total if total.shape == expected.shape else total.T
        np.testing.assert_allclose(total, expected, atol=1e-6 * np.abs(expected).max())
        assert set(np.unique(integers)) <= {-127, 0, 127}


def test_int8_activations_are_in_the_graph(in_int8: tuple[nn.Module, Path]) -> None:
    proto = onnx.load(in_int8[1])
    quantized = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) >= 3
    assert not any(array.ndim > 1 and array.dtype == np.float32 for array in arrays(proto).values())
    assert {entry.key for entry in proto.metadata_props} == {"ternlab"}
    assert str(Path(__file__).parents[2]).encode() not in in_int8[1].read_bytes()
