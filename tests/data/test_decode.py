"""Single image files: every depth that Pillow opens is scaled or refused, never clipped."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ternlab.data.decode import CorruptImage, decode

# All sixteen bits of a ramp, of which a viewer shows the high byte.
RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
SHOWN = (RAMP >> 8).astype(np.uint8)


def file_of(pixels: Any, kind: str) -> bytes:
    found = io.BytesIO()
    Image.fromarray(pixels).save(found, kind)
    return found.getvalue()


def pgm(pixels: np.ndarray, largest: int) -> bytes:
    """Return a grey file of two bytes a pixel, as scanners and astronomers write it."""
    height, width = pixels.shape
    return f"P5 {width} {height} {largest}\n".encode() + pixels.astype(">u2").tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "data",
    [file_of(RAMP, "PNG"), file_of(RAMP, "TIFF"), pgm(RAMP, 65535), file_of(RAMP.astype(np.int32), "TIFF")],
    ids=["png", "tiff", "pgm", "tiff 32 bits"],
)
def test_sixteen_bits_are_scaled_to_eight(data: bytes, channels: int) -> None:
    found = np.asarray(decode(data, channels))
    for plane in [found] if channels == 1 else np.moveaxis(found, 2, 0):
        assert plane.tolist() == SHOWN.tolist()


def test_twelve_bits_of_a_file_that_says_so_are_scaled_to_its_own_white() -> None:
    pixels = np.array([[0, 1000, 4095]], dtype=np.uint16)
    assert np.asarray(decode(pgm(pixels, 4095), 1)).tolist() == [[0, 62, 255]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 70_000]], dtype=np.int32), "range from 0 to 70000, but must be between 0 and 65535"),
        (np.array([[-1, 5]], dtype=np.int32), "from -1 to 5"),
        (np.array([[0.0, 1.0]], dtype=np.float32), "floating-point"),
    ],
)
def test_pixels_whose_white_is_not_known_are_refused(pixels: np.ndarray, message: str) -> None:
    for channels in (1, 3):
        with pytest.raises(CorruptImage, match=message):
            decode(file_of(pixels, "TIFF"), channels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_white_stays_white_and_black_black_in_every_mode_of_eight_bits(mode: str) -> None:
    image = Image.new("RGB", (2, 1), "black")
    image.putpixel((1, 0), (255, 255, 255))
    found = io.BytesIO()
    image.convert(mode).save(found, "TIFF")
    pixels = np.asarray(decode(found.getvalue(), 3)).reshape(2, 3)
    assert pixels[0].max() == 0 and pixels[1].min() == 255
