"""Decodes single image files with Pillow."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_GREY_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "LA", "La")


class CorruptImage(Exception):
    """The bytes are not a usable image; the message says why."""


def open_image(data: bytes) -> Image.Image:
    """Open an image file without decoding its pixels.

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


def decode(data: bytes, channels: int, *, convert: bool = False) -> Image.Image:
    """Decode an image file to 8-bit grey (`channels` 1) or RGB (`channels` 3).

    The first frame counts; transparency and the orientation in the metadata are ignored, as by torchvision.

    Args:
        data: the file.
        channels: 1 or 3.
        convert: make colour images grey if `channels` is 1, instead of refusing them.

    Raises:
        CorruptImage: the file is damaged, or it is a colour image in a grey data set.
    """
    image = open_image(data)
    to_grey = channels == 1 and not is_grey(image)
    if to_grey and not convert:
        raise CorruptImage(
            f"its mode is {image.mode}, but the other images are grey; data.channels=3 reads all of them as colour, "
            "data.channels=1 as grey"
        )
    try:
        if image.mode.startswith("I"):
            image = _high_byte(image)
        if image.mode == "F":
            raise CorruptImage("its pixels are floating-point numbers, so it is not known which value is white")
        image.load()
        if channels == 3 or to_grey:
            image = _converted(image, "RGB")
        return image if channels == 3 else _converted(image, "L")
    except (MemoryError, CorruptImage):
        raise
    except Exception as error:
        raise CorruptImage(_reason(error)) from error


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _high_byte(image: Image.Image) -> Image.Image:
    """Reduce a 16-bit grey image to 8 bits; Pillow itself would clip the pixels at 255.

    Raises:
        CorruptImage: a pixel does not fit into 16 bits.
    """
    pixels = np.asarray(image)
    if image.mode == "I" and pixels.size and (pixels.min() < 0 or pixels.max() > 65_535):
        raise CorruptImage(f"its pixels range from {pixels.min()} to {pixels.max()}, but must be between 0 and 65535")
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    # "cannot identify image file <_io.BytesIO object at 0x7f...>" contains an address that changes with every run.
    return (text.split(" <_io")[0] or type(error).__name__)[:200]


def to_tensor(image: Image.Image) -> Tensor:
    """Return the pixels as uint8, shape (channels, height, width)."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def fit_square(image: Image.Image, resize: int, size: int) -> Image.Image:
    """Scale the shorter side to `resize` pixels (bilinear, antialiased) and center-crop to `size`."""
    width, height = image.size
    if min(width, height) != resize:
        scale = resize / min(width, height)
        width, height = (resize if side == min(image.size) else max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if (width, height) == (size, size):
        return image
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
