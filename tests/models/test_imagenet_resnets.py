"""torchvision's residual networks and their stems."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
import torchvision
from torch import nn

from ternlab.models.build import build_model
from ternlab.models.registry import model_settings
from ternlab.models.settings import ModelSettings
from ternlab.models.stem import StemSettings

PUBLISHED = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160}
BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
Stem = Literal["auto", "small", "imagenet"]


def closed_form(name: str) -> int:
    """Count by hand from table 1 of the paper: convolutions, BatchNorm, projections, classifier."""
    bottleneck = name in ("resnet50", "resnet101")
    total, given = 49 * 3 * 64 + 2 * 64, 64
    for stage, blocks in enumerate(BLOCKS[name]):
        width = 64 * 2**stage
        out = 4 * width if bottleneck else width
        for block in range(blocks):
            if bottleneck:
                total += given * width + 9 * width**2 + width * out + 2 * (2 * width + out)
            else:
                total += 9 * given * width + 9 * width**2 + 4 * width
            if block == 0 and given != out:
                total += given * out + 2 * out
            given = out
    return total + (given + 1) * 1000


def on_meta(name: str, stem: Stem, size: int, channels: int = 3, classes: int = 1000) -> nn.Module:
    with torch.device("meta"):
        settings = model_settings({"name": name, "stem": stem})
        return build_model(settings, channels=channels, size=size, classes=classes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_the_published_one(name: str) -> None:
    count = sum(p.numel() for p in on_meta(name, "auto", 224).parameters())
    assert count == PUBLISHED[name] == closed_form(name)


@pytest.mark.parametrize(
    ("stem", "size", "reaches"),
    [
        ("auto", 8, 8),
        ("auto", 28, 28),
        ("auto", 32, 32),
        ("auto", 64, 64),
        ("auto", 65, 17),
        ("auto", 224, 56),
        ("small", 224, 224),
        ("imagenet", 32, 8),
    ],
)
def test_stem_decides_the_size_that_reaches_the_stages(stem: Stem, size: int, reaches: int) -> None:
    model = on_meta("resnet18", stem, size)
    seen: list[tuple[int, ...]] = []
    model.get_submodule("layer1").register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape))
    logits = model(torch.zeros(2, 3, size, size, device="meta"))
    assert seen == [(2, 64, reaches, reaches)]
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize(("stem", "kernel"), [("small", 3), ("imagenet", 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_first_convolution_takes_the_channels_and_is_initialized_like_torchvisions(
    stem: Stem, kernel: int, channels: int
) -> None:
    settings = StemSettings(name="resnet18", stem=stem)
    first = build_model(settings, channels=channels, size=32, classes=10).get_submodule("conv1")
    assert isinstance(first, nn.Conv2d) and first.bias is None
    assert first.weight.shape == (64, channels, kernel, kernel)
    expected = math.sqrt(2 / (64 * kernel**2))
    tolerance = 5 / math.sqrt(2 * first.weight.numel())
    assert first.weight.std().item() == pytest.approx(expected, rel=tolerance)


def test_imagenet_stem_is_torchvisions_network() -> None:
    ours = build_model(StemSettings(name="resnet18", stem="imagenet"), channels=3, size=64, classes=7).eval()
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def test_imagenet_stem_draws_torchvisions_random_numbers() -> None:
    torch.manual_seed(3)
    ours = build_model(ModelSettings(name="resnet18"), channels=3, size=224, classes=7)
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=7)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
