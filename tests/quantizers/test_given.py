"""Weights that are ternary already: read, counted, packed and exported bit for bit, and trained on."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ternlab
from ternlab.core.errors import SettingsError
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.runtimes import onnx_runtime
from ternlab.models.build import build_model
from ternlab.models.registry import model_settings
from ternlab.quantizers.attach import codes, quantize
from ternlab.quantizers.weights import quantized_weights
from ternlab.settings.load import settings_from_config

PUBLISHED = "TERNLAB_PUBLISHED"


def ternary(shape: tuple[int, ...], above: float, below: float, seed: int) -> Tensor:
    """Return a weight of the values `above`, 0 and `-below`."""
    drawn = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(drawn > 0, above, torch.where(drawn < 0, -below, 0.0))


def network(seed: int = 0) -> nn.Module:
    """Return a network as it is published: the first and the last layer in full precision, the others ternary."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, groups=2),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 8),
        nn.Linear(8, 8),
        nn.Linear(8, 3),
    )
    with torch.no_grad():
        model[2].weight.copy_(ternary((6, 4, 3, 3), 0.29, 0.31, 1))
        model[4].weight.copy_(ternary((6, 2, 3, 3), 0.11, 0.11, 2))
        model[6].weight.copy_(ternary((8, 144), 0.07, 0.0, 3))
        model[7].weight.copy_(ternary((8, 8), 0.0, 0.3, 4))
    return model.eval()


TERNARY = ["2", "4", "6", "7"]


def images() -> Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(9))


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    found: Tensor = model.eval()(images())
    return found


def test_codes_and_scales_are_read_bit_for_bit_and_the_others_are_named(caplog: pytest.LogCaptureFixture) -> None:
    plain = network()
    with caplog.at_level(logging.INFO, "ternlab"):
        model = quantize(network(), "given")
    assert "given fits the weights of 4 of 6 layers; in full precision: 0, 8" in caplog.text
    assert [weight.name for weight in quantized_weights(model)] == TERNARY
    assert {weight.name for weight in ternlab.full_precision(model).weights} == {"0", "8"}
    for weight in quantized_weights(model):
        assert torch.equal(weight.value, plain.get_parameter(f"{weight.name}.weight"))
    assert torch.equal(logits(model), logits(plain))


def test_two_scales_are_stored_only_where_they_differ() -> None:
    model = quantize(network(), "given")
    scales = {
        weight.name: [None if each is None else round(float(each), 4) for each in (plane.scale, plane.negative_scale)]
        for weight in quantized_weights(model)
        for plane in weight.codes().planes
    }
    assert scales == {"2": [0.29, 0.31], "4": [0.11, None], "6": [0.07, None], "7": [0.3, None]}
    counted = {layer.name: layer.codes.scales for layer in ternlab.summary(model).layers if layer.codes}
    assert counted == {"2": 2, "4": 1, "6": 1, "7": 1}


def test_packed_and_exported_it_is_the_same_network(tmp_path: Path) -> None:
    model = quantize(network(), "given")
    ternlab.save(model, tmp_path / "net")
    assert torch.equal(logits(ternlab.load(tmp_path / "net", network(1))), logits(network()))
    write_onnx(onnx_model(model, (3, 8, 8), integers=True), tmp_path / "model.onnx", {})
    found = onnx_runtime(tmp_path / "model.onnx", "").logits(images().numpy())
    expected = logits(network()).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_read_bit_for_bit(dtype: torch.dtype) -> None:
    model, plain = quantize(network().to(dtype), "given"), network().to(dtype)
    assert [weight.name for weight in quantized_weights(model)] == TERNARY
    for weight in quantized_weights(model):
        assert torch.equal(weight.value, plain.get_parameter(f"{weight.name}.weight"))


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ([0.2, 0.2, -0.1], True),
        ([0.2, 0.0, -0.1], True),
        ([-0.2, -0.2, -0.2], True),
        ([0.0, 0.0, 0.0], True),
        ([0.1, 0.2, 0.0], False),  # three values, but two of one sign
        ([0.1, 0.1 + 1e-8, 0.0], False),
        ([float("nan"), 0.1, 0.0], False),
    ],
)
def test_which_weights_are_ternary(values: list[float], fits: bool) -> None:
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([values]))
    if fits:
        assert torch.equal(codes(quantize(layer, "given")).effective(), torch.tensor([values]))
        return
    with pytest.raises(SettingsError, match="does not fit the weights of any layer"):
        quantize(layer, "given")


def test_filters_with_levels_of_their_own() -> None:
    def scaled() -> nn.Module:
        model = network()
        with torch.no_grad():
            model[2].weight.mul_(torch.arange(1.0, 7.0)[:, None, None, None])
            # The filters of a transposed convolution are in its second dimension, in each of the two groups.
            model[4].weight.mul_(torch.tensor([[1.0, 2.0]] * 3 + [[3.0, 4.0]] * 3)[:, :, None, None])
        return model

    model = quantize(scaled(), "given", granularity="filter", include=["2", "4"])
    assert torch.equal(logits(model), logits(scaled()))
    assert [plane.scale.numel() for weight in quantized_weights(model) for plane in weight.codes().planes] == [6, 4]
    with pytest.raises(SettingsError, match="does not fit"):
        quantize(scaled(), "given", include=["2", "4"])


def test_other_rules_can_be_used_beside_it() -> None:
    model = quantize(network(), "given", layers=[{"match": "8", "name": "uniform", "bits": 4}])
    assert [weight.name for weight in quantized_weights(model)] == [*TERNARY, "8"]


def test_training_goes_on_from_there() -> None:
    model = quantize(network(), "given").train()
    before = {weight.name: weight.codes().stacked() for weight in quantized_weights(model)}
    step = torch.optim.SGD(model.parameters(), lr=0.5)
    for seed in range(6):
        torch.manual_seed(seed)
        step.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.randint(0, 3, (8,))).backward()
        step.step()
    changed = [int((weight.codes().stacked() != before[weight.name]).sum()) for weight in quantized_weights(model)]
    assert sum(changed) > 0, "codes follow the latent weights"
    for weight in quantized_weights(model):
        assert weight.latent.isfinite().all() and len(weight.value.unique()) <= 3


def test_trained_ternary_quantization_starts_from_the_same_codes() -> None:
    given = quantize(network(), "given", include=["2", "4"])
    ttq = quantize(network(), "ttq", first_scale="mean", include=["2", "4"])
    for one, other in zip(quantized_weights(given), quantized_weights(ttq), strict=True):
        assert torch.equal(one.codes().stacked(), other.codes().stacked())
        torch.testing.assert_close(one.value, other.value, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("quant", "model", "message"),
    [
        ({"init": "scratch"}, {}, r"model\.weights: is missing.*\n  instead: model\.weights=FILE"),
        ({"init": "baseline"}, {"weights": "a.pt"}, r"quant\.init = baseline: .*\n  instead: quant\.init=scratch"),
    ],
)
def test_settings_without_ternary_weights_are_refused(
    quant: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    values = {"model": {"name": "resnet20", **model}, "data": {"name": "digits"}, "quant": {"name": "given", **quant}}
    with pytest.raises(SettingsError, match=message):
        settings_from_config(values)


def test_the_published_network_holds_three_values_in_18_of_its_20_layers(tmp_path: Path) -> None:
    folder = os.environ.get(PUBLISHED)
    path = Path(folder or ".") / "resnet20_ec2t_spars45.pt"
    if folder is None or not path.is_file():
        pytest.skip(f"needs the environment variable {PUBLISHED}: the folder of resnet20_ec2t_spars45.pt")

    def plain() -> nn.Module:
        settings = model_settings({"name": "resnet20", "weights": str(path)})
        return build_model(settings, channels=3, size=32, classes=10)

    model = quantize(plain(), "given")
    assert len(list(quantized_weights(model))) == 18
    assert {weight.name for weight in ternlab.full_precision(model).weights} == {"conv1", "fc"}
    batch = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = plain().eval()(batch)
        assert torch.equal(model.eval()(batch), expected)
        ternlab.save(model, tmp_path / "net")
        assert torch.equal(ternlab.load(tmp_path / "net", plain())(batch), expected)
