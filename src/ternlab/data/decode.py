"""Decoding of single image files, by Pillow."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_GREY_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "LA", "La")


class CorruptImage(Exception):
    """The bytes are not an image that can be used; the message says why."""


def open_image(data: bytes) -> Image.Image:
    """Open an image file; the pixels are not decoded yet.

    Raises:
        CorruptImage: the header cannot be read.
    """
    try:
        return Image.open(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, ValueError, SyntaxError, struct.error, ...
        raise CorruptImage(_reason(error)) from error


def is_grey(image: Image.Image) -> bool:
    """Return whether the image has a single colour channel."""
    return image.mode in _GREY_MODES


def decode(data: bytes, channels: int) -> Image.Image:
    """Decode an image file to 8-bit grey (`channels` 1) or RGB (`channels` 3).

    Raises:
        CorruptImage: the file is damaged, or it is in colour where the set is grey.
    """
    image = open_image(data)
    if channels == 1 and not is_grey(image):
        raise CorruptImage(f"its mode is {image.mode}, but the other images are grey")
    try:
        if image.mode.startswith("I"):
            image = _high_byte(image)
        if image.mode == "F":
            raise CorruptImage("its pixels are floating-point numbers, and which of them is white is not known")
        mode = "L" if channels == 1 else "RGB"
        image.load()
        return image if image.mode == mode else image.convert(mode)
    except (MemoryError, CorruptImage):
        raise
    except Exception as error:
        raise CorruptImage(_reason(error)) from error


def _high_byte(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits with 8: Pillow itself would clip its pixels at 255.

    Raises:
        CorruptImage: the pixels do not fit into 16 bits.
    """
    pixels = np.asarray(image)
    if image.mode == "I" and pixels.size and (pixels.min() < 0 or pixels.max() > 65_535):
        raise CorruptImage(
            f"its pixels are whole numbers from {pixels.min()} to {pixels.max()}, and must be from 0 to 65535"
        )
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    # "cannot identify image file <_io.BytesIO object at 0x7f...>" names an address that changes every run.
    return (text.split(" <_io")[0] or type(error).__name__)[:200]


def to_tensor(image: Image.Image) -> Tensor:
    """Return the pixels as uint8, shape (channels, height, width)."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def fit_square(image: Image.Image, resize: int, size: int) -> Image.Image:
    """Scale the shorter side to `resize` pixels (bilinear, antialiased); cut the central square of `size`."""
    width, height = image.size
    if min(width, height) != resize:
        scale = resize / min(width, height)
        width, height = (resize if side == min(image.size) else max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if (width, height) == (size, size):
        return image
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
