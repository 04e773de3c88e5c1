"""Mean and standard deviation of the training images."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_IMAGES = 10_000
_CHUNK = 500


def channel_statistics(images: Tensor, indices: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel on the scale 0..1.

    The sums are over integers and therefore exact in any order; the first 10,000 indices suffice for four digits. A
    constant channel gets the standard deviation 1, to avoid division by zero.

    Args:
        images: uint8, shape (count, channels, size, size).
        indices: the training images in their seeded order, int64.
    """
    chosen = indices[:MOST_IMAGES]
    total = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for part in torch.split(chosen, _CHUNK):
        pixels = images[part].to(torch.int32)
        total += pixels.sum((0, 2, 3))
        squares += (pixels * pixels).sum((0, 2, 3))
    count = len(chosen) * images.shape[2] * images.shape[3]
    mean = total.double() / count
    std = (squares.double() / count - mean**2).clamp_min(0).sqrt()
    std = torch.where(std < 1e-6, torch.full_like(std, 255.0), std)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
