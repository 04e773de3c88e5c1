"""Batched augmentation of in-memory images, and the normalization of all images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ternlab.core.rng import generator


@dataclass(frozen=True)
class Normalise:
    """Map uint8 images to float32: `(pixel / 255 - mean) / std`, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 images in the shape of `images` (count, channels, height, width)."""
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class Draws:
    """The random choices of one global batch.

    Attributes:
        flips: whether to flip each image, bool, shape (count,).
        corners: row and column of each crop's top-left corner in the padded image, int64, shape (count, 2).
    """

    flips: Tensor
    corners: Tensor


def draw(count: int, *, flip: bool, padding: int, key: tuple[int, int, int]) -> Draws:
    """Draw the random choices for a global batch of `count` images; `key` is (seed, epoch, step)."""
    source = generator("augment", *key)
    corners = torch.randint(0, 2 * padding + 1, (count, 2), generator=source)
    flips = torch.rand(count, generator=source) < 0.5 if flip else torch.zeros(count, dtype=torch.bool)
    return Draws(flips, corners)


def augment(images: Tensor, draws: Draws, padding: int, own: slice) -> Tensor:
    """Flip and crop the images of one rank.

    Args:
        images: the rank's images, uint8, shape (count, channels, size, size).
        draws: the random choices for the whole global batch.
        padding: zero (black) pixels added on each side before the crop.
        own: the rank's slice of the global batch.
    """
    flips, corners = draws.flips[own], draws.corners[own]
    if flips.any():
        images = torch.where(flips[:, None, None, None], images.flip(-1), images)
    if padding:
        size = images.shape[-1]
        padded = functional.pad(images, (padding,) * 4)
        # A view of every possible crop; indexing then copies one crop per image.
        crops = padded.unfold(2, size, 1).unfold(3, size, 1)
        images = crops[torch.arange(len(images)), :, corners[:, 0], corners[:, 1]]
    return images
