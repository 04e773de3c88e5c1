"""TGA's first threshold, autocast, copies and files."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers, quantizer_of
from tests.quantizers.vectors import rule


def weight_of(dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(3)
    return (torch.randn(6, 4, 3, 3) * 0.1).to(dtype)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_first_threshold_is_a_fraction_of_the_largest_magnitude_or_of_the_deviation(dtype: torch.dtype) -> None:
    weight = weight_of(dtype)
    weight.view(-1)[5] = -0.75
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    largest = rule(weight, threshold={"init": 0.07}).threshold
    deviation = rule(weight, threshold={"init": 0.6, "unit": "sigma"}).threshold
    assert largest.dtype == deviation.dtype == wide and largest.ndim == 0
    assert float(largest.detach()) == pytest.approx(0.07 * 0.75, rel=1e-6)
    assert float(deviation.detach()) == pytest.approx(0.6 * float(weight.to(wide).std()), rel=1e-6)


def test_thresholds_yields_the_one_trainable_parameter_of_the_rule() -> None:
    quantizer = rule(weight_of())
    assert list(quantizer.thresholds()) == list(quantizer.parameters()) == [quantizer.threshold]
    assert quantizer.threshold.requires_grad and isinstance(quantizer.threshold, nn.Parameter)


def test_autocast_changes_neither_codes_nor_statistics() -> None:
    weight = weight_of()
    quantizer = rule(weight)
    plain, statistics, effective = quantizer.codes(weight).planes[0], quantizer.statistics(weight), quantizer(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert quantizer.statistics(weight) == statistics
        within = quantizer.codes(weight).planes[0]
        assert torch.equal(quantizer(weight), effective)
    assert torch.equal(within.codes, plain.codes)
    assert torch.equal(within.thresholds, plain.thresholds) and within.thresholds.dtype == torch.float32
    assert torch.equal(within.scale, plain.scale) and within.scale.dtype == torch.float32


def test_backward_of_a_layer_under_autocast_is_near_that_outside_and_in_float32() -> None:
    torch.manual_seed(0)
    layer, inputs = quantize(nn.Linear(30, 20)), torch.randn(16, 30)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = layer(inputs)
        assert out.dtype == (torch.bfloat16 if enabled else torch.float32)
        out.float().square().mean().backward()
        gradients.append([parameter.grad for parameter in layer.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None and other is not None and other.dtype == torch.float32
        assert (one - other).abs().max() <= 0.02 * one.abs().max()


def test_deep_copy_is_independent_and_gives_the_same_bits() -> None:
    model = quantize(network()).eval()
    twin = copy.deepcopy(model)
    images = torch.randn(2, 3, 8, 8)
    before = model(images)
    assert torch.equal(twin(images), before)
    with torch.no_grad():
        for name, layer in quantized_layers(twin):
            assert quantizer_of(layer) is not quantizer_of(model.get_submodule(name))
            next(quantizer_of(layer).thresholds()).fill_(0.2)
            latent_weight(layer).mul_(2)
    assert not torch.equal(twin(images), before)
    assert torch.equal(model(images), before)


def test_state_dict_through_a_file_restores_trained_thresholds_and_not_their_first_values() -> None:
    model = quantize(network()).eval()
    with torch.no_grad():
        for number, (_, layer) in enumerate(quantized_layers(model)):
            next(quantizer_of(layer).thresholds()).fill_(0.1 + number / 7)
            latent_weight(layer).mul_(3).add_(0.01)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(99)
    other = quantize(nn.Sequential(*(copy.deepcopy(m) for m in network())), threshold={"init": 0.4}).eval()
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    thresholds = [float(next(quantizer_of(layer).thresholds()).detach()) for _, layer in quantized_layers(other)]
    assert thresholds == pytest.approx([0.1, 0.1 + 1 / 7])
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(other(images), model(images))
    for (_, one), (_, two) in zip(quantized_layers(model), quantized_layers(other), strict=True):
        assert torch.equal(codes(one).stacked(), codes(two).stacked())


def test_state_dict_holds_the_latent_weight_and_the_threshold_of_each_layer() -> None:
    assert [name for name in quantize(network()).state_dict() if name.startswith("4.")] == [
        "4.bias",
        "4.parametrizations.weight.original",
        "4.parametrizations.weight.0.threshold",
    ]
