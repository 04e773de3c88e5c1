"""AlexNet with BatchNorm after each convolution.

Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks": one column, widths
64/192/384/256/256 and two fully connected layers of 4096, as in torchvision. BatchNorm replaces the biases of the
convolutions and local response normalization, as in the AlexNets that ternary results are compared with. Therefore
torchvision's weights, which are trained without BatchNorm, do not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.models.initialization import he_initialize
from ternlab.models.stem import StemDropoutSettings, has_small_stem

SMALLEST_IMAGENET = 63
SMALLEST_SMALL = 8


@dataclass(frozen=True)
class _Shape:
    """Differences between the two stems.

    Attributes:
        kernel, stride, padding: parameters of the first convolution.
        pool_padding: padding of the 3x3 max-pools with stride 2.
        last_pool: whether the fifth convolution is also followed by a max-pool.
        grid: height and width after the adaptive average pool.
        hidden: units of each of the two hidden fully connected layers.
    """

    kernel: int
    stride: int
    padding: int
    pool_padding: int
    last_pool: bool
    grid: int
    hidden: int


_IMAGENET = _Shape(kernel=11, stride=4, padding=2, pool_padding=0, last_pool=True, grid=6, hidden=4096)
# 4096 units on 6x6 cells are designed for 224-pixel images and 1000 classes, with 54 of the network's 61 million
# parameters. Small images end in 2x2 cells; 1024 units keep most of the parameters in the convolutions.
_SMALL = _Shape(kernel=3, stride=1, padding=1, pool_padding=1, last_pool=False, grid=2, hidden=1024)


class AlexNet(nn.Module):
    """Five convolutions, an adaptive average pool and three fully connected layers.

    Args:
        small: use the stem for small images (8 pixels or more): a 3x3 first convolution with stride 1, two max-pools
            instead of three, 2x2 cells and 1024 hidden units. Otherwise the published sizes, for images of 63 pixels
            or more.
        channels: image channels.
        classes: number of classes.
        dropout: dropout probability before each of the two hidden fully connected layers.
    """

    def __init__(self, *, small: bool, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        shape = _SMALL if small else _IMAGENET
        first = nn.Conv2d(channels, 64, shape.kernel, shape.stride, shape.padding, bias=False)
        self.features = _features(first, shape)
        self.avgpool = nn.AdaptiveAvgPool2d(shape.grid)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * shape.grid**2, shape.hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(shape.hidden, shape.hidden),
            nn.ReLU(),
            nn.Linear(shape.hidden, classes),
        )
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, channels, height, width)` to logits `(batch, classes)`."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


def _features(first: nn.Conv2d, shape: _Shape) -> nn.Sequential:
    last_pool = [_pool(shape)] if shape.last_pool else []
    return nn.Sequential(
        *_normalized(first),
        _pool(shape),
        *_normalized(nn.Conv2d(64, 192, 5, padding=2, bias=False)),
        _pool(shape),
        *_normalized(nn.Conv2d(192, 384, 3, padding=1, bias=False)),
        *_normalized(nn.Conv2d(384, 256, 3, padding=1, bias=False)),
        *_normalized(nn.Conv2d(256, 256, 3, padding=1, bias=False)),
        *last_pool,
    )


def _normalized(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()


def _pool(shape: _Shape) -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=shape.pool_padding)


def build(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> AlexNet:
    """Build AlexNet with the stem and dropout of `settings`; logits are `(batch, classes)`.

    Raises:
        SettingsError: the images are too small for the stem.
    """
    small = has_small_stem(settings, size)
    least = SMALLEST_SMALL if small else SMALLEST_IMAGENET
    if size < least:
        raise SettingsError(
            "model.stem",
            value=settings.stem,
            rule=f"this stem of alexnet needs images of at least {least} pixels, but these have {size}",
            instead="model=resnet20, which takes any size" if small else "model.stem=small",
        )
    return AlexNet(small=small, channels=channels, classes=classes, dropout=settings.dropout)
