"""AlexNet: published sizes, the stem for small images, dropout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.models.alexnet.network import AlexNet, build
from ternlab.models.stem import StemDropoutSettings

# In and out channels and kernel of the five convolutions (Krizhevsky 2014; the first one apart).
LATER = ((64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3))


def closed_form(first: int, cells: int, hidden: int, classes: int) -> int:
    convolutions = first + 2 * 64 + sum(a * b * k * k + 2 * b for a, b, k in LATER)
    linear = (256 * cells + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * classes
    return convolutions + linear


def alexnet(size: int, classes: int = 10, **settings: object) -> AlexNet:
    return build(StemDropoutSettings.model_validate({"name": "alexnet", **settings}), 3, size, classes)


def test_parameter_count_of_the_published_sizes() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in alexnet(224, 1000).parameters())
    # torchvision's 61,100,840, less 1,152 biases of convolutions, plus 2,304 numbers of BatchNorm.
    assert count == closed_form(3 * 64 * 121, 36, 4096, 1000) == 61_100_840 - 1_152 + 2_304


def test_parameter_count_of_the_small_stem_is_the_same_for_all_image_sizes() -> None:
    with torch.device("meta"):
        counts = {sum(p.numel() for p in alexnet(size).parameters()) for size in (8, 32, 64)}
    assert counts == {closed_form(3 * 64 * 9, 4, 1024, 10)}


@pytest.mark.parametrize(
    ("stem", "size", "reaches"),
    [
        ("auto", 8, 2),
        ("auto", 28, 7),
        ("auto", 32, 8),
        ("auto", 64, 16),
        ("auto", 224, 6),
        ("imagenet", 63, 1),
    ],
)
def test_size_after_the_convolutions(stem: str, size: int, reaches: int) -> None:
    with torch.device("meta"):
        model = alexnet(size, stem=stem)
        images = torch.zeros(1, 3, size, size)
        assert model.features(images).shape == (1, 256, reaches, reaches)
        assert model(images).shape == (1, 10)


@pytest.mark.parametrize(("stem", "size", "least"), [("imagenet", 62, 63), ("small", 7, 8), ("auto", 4, 8)])
def test_images_too_small_for_the_stem_are_refused(stem: str, size: int, least: int) -> None:
    with pytest.raises(SettingsError, match=f"at least {least} pixels, but these have {size}"):
        alexnet(size, stem=stem)


def test_every_convolution_is_followed_by_batch_norm() -> None:
    layers = list(alexnet(32).features)
    places = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert len(places) == 5
    assert all(isinstance(layers[place + 1], nn.BatchNorm2d) for place in places)


def test_dropout_is_off_by_default_and_on_where_asked() -> None:
    images = torch.randn(4, 3, 8, 8)
    plain, dropping = alexnet(8), alexnet(8, dropout=0.5)
    assert torch.equal(plain(images), plain(images))
    assert not torch.equal(dropping(images), dropping(images))
    assert [m.p for m in dropping.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


def test_he_initialization_of_linear_layers() -> None:
    for layer in alexnet(8).classifier:
        if isinstance(layer, nn.Linear):
            tolerance = 5 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / layer.in_features), rel=tolerance)
            assert layer.bias.eq(0).all()
