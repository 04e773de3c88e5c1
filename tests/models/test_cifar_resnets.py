"""CIFAR residual networks: sizes, shortcut, initialization, shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ternlab.models.resnet_cifar.family import CifarResNetSettings
from ternlab.models.resnet_cifar.network import CifarResNet, ShortcutA, build

PUBLISHED = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


def closed_form(depth: int, channels: int, classes: int) -> int:
    """Count by hand: weights of 3x3 convolutions, two numbers a channel of BatchNorm, classifier."""
    n = (depth - 2) // 6
    stem = 9 * channels * 16 + 2 * 16
    stages = sum(9 * (a * b + (2 * n - 1) * b * b) + 4 * n * b for a, b in ((16, 16), (16, 32), (32, 64)))
    return stem + stages + 65 * classes


def small(depth: int = 20, channels: int = 3, classes: int = 10) -> CifarResNet:
    return build(CifarResNetSettings(name=f"resnet{depth}"), channels, 32, classes)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_parameter_count_is_the_published_one(depth: int) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in small(depth).parameters())
    assert count == PUBLISHED[depth] == closed_form(depth, 3, 10)


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 100), (4, 2)])
def test_parameter_count_follows_channels_and_classes(channels: int, classes: int) -> None:
    count = sum(p.numel() for p in small(20, channels, classes).parameters())
    assert count == closed_form(20, channels, classes)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    with torch.device("meta"):
        layers = [m for m in small(depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("size", [8, 7])
def test_shortcut_a_written_out_pixel_by_pixel(size: int) -> None:
    x = torch.randn(2, 3, size, size)
    out = ShortcutA(5, stride=2)(x)
    half = math.ceil(size / 2)
    expected = torch.zeros(2, 8, half, half)
    for channel in range(3):
        for row in range(half):
            for column in range(half):
                expected[:, channel, row, column] = x[:, channel, 2 * row, 2 * column]
    assert torch.equal(out, expected)


def test_block_adds_the_shortcut_before_the_last_relu() -> None:
    model = small()
    block = model.get_submodule("layer2.0").eval()
    nn.init.zeros_(model.get_parameter("layer2.0.bn2.weight"))  # leaves the shortcut alone
    x = torch.randn(2, 16, 8, 8)
    zeros = torch.zeros(2, 16, 4, 4)
    assert torch.equal(block(x), torch.cat((x[:, :, ::2, ::2].relu(), zeros), dim=1))


def test_he_initialization_statistics() -> None:
    model = small(56)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            # A sample deviation of n values is off by about 1 / sqrt(2 n); 5 of these.
            expected = math.sqrt(2 / (9 * layer.out_channels))
            tolerance = 5 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(expected, rel=tolerance), name
            assert abs(layer.weight.mean().item()) < 5 * expected / math.sqrt(layer.weight.numel()), name
            assert layer.bias is None
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.eq(1).all() and layer.bias.eq(0).all()
    assert model.fc.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=5 / math.sqrt(2 * 640))
    assert model.fc.bias.eq(0).all()


def test_initialization_is_a_function_of_the_seed() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(small().conv1.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("size", [1, 8, 28, 32, 64])
def test_stages_halve_the_image_twice(size: int) -> None:
    model = small().eval()
    seen: list[tuple[int, ...]] = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape)))
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)
    half, quarter = math.ceil(size / 2), math.ceil(size / 4)
    assert seen == [(2, 16, size, size), (2, 32, half, half), (2, 64, quarter, quarter)]


def test_a_depth_of_another_form_is_refused() -> None:
    settings = CifarResNetSettings.model_construct(name="resnet21")
    with pytest.raises(ValueError, match=r"depth in 'resnet21' is 21, but must be 6 n \+ 2"):
        build(settings, 3, 32, 10)


@pytest.mark.parametrize(("width", "stages"), [(0.5, (8, 16, 32)), (1.3, (21, 42, 83)), (0.01, (1, 1, 1))])
def test_width_scales_every_stage(width: float, stages: tuple[int, int, int]) -> None:
    network = build(CifarResNetSettings(name="resnet20", width=width), 3, 32, 10)
    convolutions = [network.conv1, *(stage[-1].conv2 for stage in (network.layer1, network.layer2, network.layer3))]
    assert tuple(layer.out_channels for layer in convolutions) == (stages[0], *stages)
    logits = network(torch.randn(2, 3, 8, 8))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
