"""Grey and colour: one mode for all images of a data set."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ternlab.data.source import DataSource, MemoryPart, StreamPart

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel."""


def with_channels(source: DataSource, channels: int | None) -> DataSource:
    """Return the data set with `data.channels`; without it, unchanged.

    Grey images become colour images of three equal channels, with the statistics of the grey ones. For grey images made
    from colour, known statistics do not apply: those of images in memory are computed from the training images.
    """
    if channels is None or channels == source.channels:
        return source
    mean, std = source.mean, source.std
    if mean is not None and std is not None:
        if channels == 3:
            mean, std = mean * 3, std * 3
        else:
            mean, std = (None, None) if isinstance(source.train, MemoryPart) else grey_statistics(mean, std)
    parts = [_converted(part, channels) for part in (source.train, source.test)]
    return replace(source, train=parts[0], test=parts[1], channels=channels, mean=mean, std=std)


def grey_statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> Statistics:
    """Return the means over the channels, which approximate the statistics of the same images in grey."""
    return (sum(mean) / len(mean),), (sum(std) / len(std),)


def _converted(part: MemoryPart | StreamPart, channels: int) -> MemoryPart | StreamPart:
    # Streamed images are converted when they are decoded.
    if isinstance(part, StreamPart):
        return part
    images = part.images.expand(-1, 3, -1, -1) if channels == 3 else grey(part.images)
    return MemoryPart(images, part.labels)


def grey(images: Tensor) -> Tensor:
    """Return the luma of RGB images, uint8 (count, 3, height, width), as uint8 (count, 1, height, width).

    ITU-R BT.601 in 16-bit fixed point, the same bits as Pillow's `convert("L")`.
    """
    made = torch.empty_like(images[:, :1])
    for row, (red, green, blue) in enumerate(images):
        luma = red.int() * 19_595 + green.int() * 38_470 + blue.int() * 7_471 + 0x8000
        made[row, 0] = (luma >> 16).to(torch.uint8)
    return made
