"""Residual networks for CIFAR: He et al. 2016, "Deep Residual Learning", section 4.2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ternlab.models.initialization import he_initialize
from ternlab.models.resnet_cifar.family import STAGE_CHANNELS, CifarResNetSettings, Shortcut


class ShortcutA(nn.Module):
    """Option A of the paper: subsampled pixels, with zeros for the new channels; no parameters.

    Weights from code that adds the zeros elsewhere need their channels reordered: see
    `ternlab.models.resnet_cifar.published`.

    Args:
        extra_channels: number of zero channels to add.
        stride: distance between the pixels that are kept.
        shortcut: all zeros after the existing channels, or half of them (rounded down) before.
    """

    def __init__(self, extra_channels: int, stride: int, shortcut: Shortcut = "zeros_after") -> None:
        super().__init__()
        self.before = extra_channels // 2 if shortcut == "zeros_around" else 0
        self.extra_channels = extra_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, channels + extra, height / s, width / s)`."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.before, self.extra_channels - self.before))

    def extra_repr(self) -> str:
        """Return the arguments, for the printed network."""
        return f"extra_channels={self.extra_channels}, stride={self.stride}, before={self.before}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and an identity or option-A shortcut."""

    def __init__(self, channels: int, width: int, stride: int, shortcut: Shortcut = "zeros_after") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else ShortcutA(width - channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, width, height / stride, width / stride)`."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """A network of `6 * blocks + 2` layers in three stages.

    The average pool is adaptive, so image sizes other than 32 work.

    Args:
        blocks: residual blocks per stage (3 for ResNet-20).
        channels: image channels.
        classes: number of classes.
        stages: channels of the three stages, non-decreasing.
        shortcut: where shortcuts add zeros for new channels.
    """

    def __init__(
        self,
        blocks: int,
        *,
        channels: int,
        classes: int,
        stages: tuple[int, int, int] = STAGE_CHANNELS,
        shortcut: Shortcut = "zeros_after",
    ) -> None:
        super().__init__()
        self.stages = stages
        self.shortcut = shortcut
        self.conv1 = nn.Conv2d(channels, stages[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0])
        self.layer1 = _stage(blocks, stages[0], stages[0], 1, shortcut)
        self.layer2 = _stage(blocks, stages[0], stages[1], 2, shortcut)
        self.layer3 = _stage(blocks, stages[1], stages[2], 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[2], classes)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, channels, height, width)` to logits `(batch, classes)`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(blocks: int, channels: int, width: int, stride: int, shortcut: Shortcut) -> nn.Sequential:
    first = BasicBlock(channels, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))


def build(settings: CifarResNetSettings, channels: int, size: int, classes: int) -> CifarResNet:
    """Build the CIFAR network `resnet<depth>`, where `depth = 6 n + 2`.

    Raises:
        ValueError: the depth in the name does not have that form (possible only for names registered by plugins).
    """
    depth = int(settings.name.removeprefix("resnet"))
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"The depth in {settings.name!r} is {depth}, but must be 6 n + 2.")
    return CifarResNet(
        blocks, channels=channels, classes=classes, stages=settings.stage_channels, shortcut=settings.shortcut
    )
