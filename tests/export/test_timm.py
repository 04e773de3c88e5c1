"""Networks of timm and torchvision, with random weights, from `quantize` to every kind of file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import ShuffleNetV2

from ternlab.export.folding import inference_network
from ternlab.export.integer import with_integer_activations
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.onnx_weights import replace_weights
from ternlab.export.packed import load, read_codes, save
from ternlab.export.runtimes import onnx_runtime
from ternlab.export.summary import summary
from ternlab.quantizers.attach import codes, quantize, quantized_layers
from ternlab.training.network import load_trained, save_weights
from ternlab.training.rehearsal import rehearse_saving

pytestmark = pytest.mark.slow

CLASSES = 10


def of_timm(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=CLASSES, **options)


_VIT = {"img_size": 32, "patch_size": 8, "depth": 2}
# Averaged, since the class token of an untrained network is too small for eight bits.
_AVERAGED = {"class_token": False, "global_pool": "avg"}
_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}
# Fewer blocks where the constructor allows it: torch's exporter takes most of the time.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mobilenetv3": (of_timm("mobilenetv3_small_050"), 32),
    "efficientnet": (of_timm("efficientnet_lite0"), 32),
    "convnext": (of_timm("convnext_atto", depths=(1, 1, 2, 1)), 32),
    "vit": (of_timm("vit_tiny_patch16_224", **_VIT, **_AVERAGED), 32),
    "swin": (of_timm("swin_tiny_patch4_window7_224", **_SWIN), 64),
    "densenet": (of_timm("densenet121", block_config=(2, 2, 2, 2)), 32),
    "shufflenet": (
        lambda: ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 256], num_classes=CLASSES),
        32,
    ),
    "mnasnet": (of_timm("mnasnet_small"), 32),
}


@dataclass(frozen=True)
class Trained:
    """A quantized network after one step, and what it computes.

    Attributes:
        build: makes the plain network.
        shape: of an image.
        model: in evaluation mode.
        images, logits: of eight images.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    model: nn.Module
    images: Tensor
    logits: Tensor

    def close(self, found: np.ndarray | Tensor, within: float) -> bool:
        """Return whether logits differ by at most a share of the largest one."""
        expected = self.logits[: len(found)]
        return bool((torch.as_tensor(found) - expected).abs().max() <= within * expected.abs().max())


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request: pytest.FixtureRequest) -> Trained:
    torch.manual_seed(0)
    build, side = NETWORKS[request.param]
    model = quantize(build(), "tga")
    images = torch.randn(8, 3, side, side)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    nn.functional.cross_entropy(model(images), torch.arange(8)).backward()
    optimizer.step()
    unchanged = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    # A bias before BatchNorm, or the key's bias in attention, has a gradient of zero up to rounding.
    assert len(unchanged) < len(before) / 4
    with torch.no_grad():
        # BatchNorm's running statistics become those of the images.
        for _ in range(10):
            model(images)
        logits = model.eval()(images)
    assert logits.shape == (8, CLASSES) and logits.isfinite().all()
    # Images are told apart, or equal logits would say little.
    assert (logits[0] - logits[1]).abs().max() > 1e-3 * logits.abs().max()
    return Trained(build, (3, side, side), model, images, logits)


def test_every_layer_is_ternary_and_counted(trained: Trained) -> None:
    found = summary(trained.model, trained.shape)
    assert {layer.rule for layer in found.layers} == {"tga"}
    assert found.macs and all(layer.use is not None for layer in found.layers)
    parameters = sum(value.numel() for value in trained.build().parameters())
    assert found.parameters == parameters


def test_weights_of_a_run_come_back(trained: Trained, tmp_path: Path) -> None:
    rehearse_saving(trained.model)
    save_weights(trained.model, tmp_path / "weights")
    model = quantize(trained.build(), "tga").eval()
    load_trained(model, tmp_path / "weights")
    with torch.inference_mode():
        assert torch.equal(model(trained.images), trained.logits)


def test_packed_files_are_the_network(trained: Trained, tmp_path: Path) -> None:
    save(trained.model, tmp_path / "packed")
    save(trained.model, tmp_path / "folded", fold=True)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "packed", trained.build())(trained.images), trained.logits)
        assert trained.close(load(tmp_path / "folded", trained.build())(trained.images), 1e-4)
    found = read_codes(tmp_path / "packed", trained.build())
    for name, layer in quantized_layers(trained.model):
        assert torch.equal(found[name].stacked(), codes(layer).stacked()), name


def test_onnx_files_have_integers_and_compute_the_same(trained: Trained, tmp_path: Path) -> None:
    # One export for both files: it takes seconds.
    proto = onnx_model(trained.model, trained.shape, integers=False)
    images = trained.images.numpy()
    with_integers = copy.deepcopy(proto)
    layers = inference_network(trained.model, fold=True).codes
    assert replace_weights(with_integers.graph, layers, {layer: f"{layer}.weight" for layer in layers}) == []
    onnx.checker.check_model(with_integers, full_check=True)
    names = {entry.name for entry in with_integers.graph.initializer}
    assert {f"{layer}.weight.0.codes" for layer in layers} <= names
    write_onnx(with_integers, tmp_path / "integers.onnx", {})
    logits = onnx_runtime(tmp_path / "integers.onnx", "").logits
    assert trained.close(logits(images), 1e-4)
    assert trained.close(logits(images[:1]), 1e-4)
    batches = [torch.randn(8, *trained.shape).numpy(), images]
    write_onnx(with_integer_activations(proto, batches), tmp_path / "int8.onnx", {})
    assert trained.close(onnx_runtime(tmp_path / "int8.onnx", "").logits(images), 0.1)
