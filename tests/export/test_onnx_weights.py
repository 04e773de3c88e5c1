"""Integer weights find their place in ONNX files, whatever torch's exporter did to names, shapes and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.onnx_weights import replace_weights
from ternlab.quantizers.attach import codes, quantize, quantized_layers
from ternlab.quantizers.base import Codes
from tests.export.onnx_helpers import RUNTIMES, arrays

RULES: dict[str, dict[str, Any]] = {"tga": {}, "ttq": {}, "sws": {"rel": {"factors": [0.05, 0.1]}}, "lsq": {"bits": 4}}
SHAPE = (3, 8, 8)


class NormAndReLU(nn.BatchNorm2d):
    """BatchNorm with an activation of its own, as in timm; only the exporter folds its factors."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and cut negative values."""
        return super().forward(x).relu()


class Tokens(nn.Module):
    """Linear layers on tokens, one weight in two layers, a layer with two names, and a layer without use."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 2, stride=2)
        self.norm = NormAndReLU(12)
        self.mixed = nn.Conv2d(12, 12, 1, bias=False)
        self.first = nn.Linear(12, 12)
        self.second = nn.Linear(12, 12)
        self.tied = nn.Linear(12, 12, bias=False)
        self.tied.weight = self.second.weight
        self.also = self.first
        self.unused = nn.Linear(12, 5)
        self.head = nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        if images.shape[-1] != SHAPE[-1]:
            raise ValueError(images.shape)  # torch.fx cannot trace a condition
        tokens = self.mixed(self.norm(self.patches(images))).flatten(2).transpose(1, 2)
        tokens = tokens + self.also(self.first(tokens)).tanh()
        tokens = tokens + self.tied(self.second(tokens).tanh())
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def network(rule: str) -> nn.Module:
    torch.manual_seed(1)
    model = Tokens()
    for value in (model.norm.weight, model.norm.running_var):
        nn.init.uniform_(value, 0.5, 2)
    nn.init.normal_(model.norm.running_mean)
    return quantize(model, rule, **RULES[rule]).eval()


@pytest.mark.parametrize("rule", ["tga", "ttq"])
def test_a_network_of_tokens_is_exported_with_integers(
    rule: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = network(rule)
    with caplog.at_level("INFO"):
        write_onnx(onnx_model(model, SHAPE, integers=True), tmp_path / "net.onnx", {})
    assert "BatchNorm is not folded: the network cannot be traced" in caplog.text
    assert caplog.messages[-1].endswith("the weights of unused")
    found = arrays(onnx.load(tmp_path / "net.onnx"))
    assert {name.partition(".")[0] for name in found if name.endswith("0.codes")} == {
        "patches", "mixed", "first", "second", "head"
    }  # fmt: skip
    # No weight is left in float.
    assert {array.dtype for array in found.values() if array.ndim > 1} == {np.dtype(np.int8)}
    assert {value for name, array in found.items() if name.endswith(".codes") for value in np.unique(array)} == {
        -1,
        0,
        1,
    }
    images = torch.randn(5, *SHAPE)
    with torch.inference_mode():
        expected = model(images).numpy()
    for make in RUNTIMES.values():
        for some in (images, images[:1]):
            logits = make(tmp_path / "net.onnx", "").logits(some.numpy())
            np.testing.assert_allclose(logits, expected[: len(some)], atol=1e-5 * np.abs(expected).max())


# --- on graphs of one layer


def graph_of(weight: Tensor, transposed: bool) -> onnx.GraphProto:
    """A graph that computes x W', with a weight that has lost its name."""
    values = weight.detach().numpy()
    operation = helper.make_node("Gemm", ["x", "val_7"], ["y"], transB=0 if transposed else 1)
    return helper.make_graph(
        [operation],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", values.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", values.shape[0]])],
        [numpy_helper.from_array(np.ascontiguousarray(values.T if transposed else values), "val_7")],
    )


def computed(graph: onnx.GraphProto, x: Tensor) -> np.ndarray[Any, Any]:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(model, full_check=True)
    found: np.ndarray[Any, Any] = ReferenceEvaluator(model).run(None, {"x": x.numpy()})[0]
    return found


def one_layer(rule: str) -> tuple[Tensor, Codes]:
    layer = quantize(nn.Sequential(nn.Linear(6, 6, bias=False)), rule, **RULES[rule])
    ((_, layer),) = quantized_layers(layer)
    found = codes(layer)
    return found.effective(), found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("factors", [False, True])
def test_a_weight_is_found_by_its_values(rule: str, transposed: bool, factors: bool) -> None:
    effective, found = one_layer(rule)
    # A factor may be 0 or negative, as those of BatchNorm.
    weight = effective * (torch.tensor([0.5, -2.0, 3.0, 0.0, 1.0, 0.1])[:, None] if factors else 1)
    graph = graph_of(weight, transposed)
    assert replace_weights(graph, {"layer": found}, {"layer": "layer.weight"}) == []
    left = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    assert left and all(name.startswith("layer.weight.") for name in left)
    # The integers stand as in the layer.
    if found.planes[0].negative_scale is None:
        np.testing.assert_array_equal(left["layer.weight.0.codes"], found.planes[0].codes.numpy())
    x = torch.randn(3, 6)
    np.testing.assert_allclose(computed(graph, x), (x @ weight.T).numpy(), rtol=1e-5, atol=1e-6)


def test_a_weight_that_is_not_there_is_named_and_nothing_changes() -> None:
    effective, found = one_layer("tga")
    other = effective.clone()
    other[0, 0] += 0.01
    for weight in (other, effective[:, [1, 0, 2, 3, 4, 5]], effective[:5]):
        graph = graph_of(weight, transposed=False)
        before = graph.SerializeToString()
        assert replace_weights(graph, {"layer": found}, {"layer": "layer.weight"}) == ["layer"]
        assert graph.SerializeToString() == before


def test_equal_weights_are_given_one_initializer_each_as_long_as_there_are_some() -> None:
    effective, found = one_layer("tga")
    graph = graph_of(effective, transposed=False)
    graph.initializer.append(numpy_helper.from_array(effective.numpy(), "b.weight"))
    entries = {layer: f"{layer}.weight" for layer in "abc"}
    assert replace_weights(graph, dict.fromkeys("abc", found), entries) == []
    names = {entry.name for entry in graph.initializer}
    assert names == {f"{layer}.weight.0.{part}" for layer in "ab" for part in ("codes", "scale")}
