"""Resizing of decoded images."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ternlab.data.decode import fit_square, to_tensor


def resized(images: Tensor, size: int | None) -> Tensor:
    """Scale square uint8 images (count, channels, side, side) to `size`; `None` leaves them unchanged.

    This uses Pillow, as for image files, so that a file and its decoded copy give the same result.
    """
    if size is None or images.shape[-1] == size:
        return images
    made = torch.empty(len(images), images.shape[1], size, size, dtype=torch.uint8)
    for row, pixels in enumerate(images):
        array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy()
        made[row] = to_tensor(fit_square(Image.fromarray(array), size, size))
    return made
