"""Single image files: every depth that Pillow opens is scaled or refused, never clipped."""

from __future__ import annotations

import io
import struct
import zlib
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


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    found = io.BytesIO()
    image.save(found, kind, **options)
    return found.getvalue()


def png(width: int, depth: int, colour: int, row: bytes) -> bytes:
    """Return a PNG of one row, of a depth that Pillow does not write; `colour` is 0, 2, 4 or 6 as in the format."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


RED, BLUE = Image.new("RGB", (1, 1), "red"), Image.new("RGB", (1, 1), "blue")
PALETTE = RED.convert("P", palette=Image.Palette.ADAPTIVE)
DEEP = struct.pack(">4H", 0x1234, 0xFFFF, 0x0080, 0x8000)


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(PALETTE, "PNG", transparency=0), [255, 0, 0]),
        (saved(PALETTE, "PNG", transparency=b"\x00"), [255, 0, 0]),
        (saved(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG"), [255, 0, 0]),
        (saved(Image.new("LA", (1, 1), (200, 0)), "PNG"), [200, 200, 200]),
        (saved(RED, "GIF", save_all=True, append_images=[BLUE]), [255, 0, 0]),
        (saved(RED, "WEBP", save_all=True, append_images=[BLUE], lossless=True), [255, 0, 0]),
        (saved(RED.convert("CMYK"), "JPEG", quality=100), [255, 0, 0]),
        (png(1, 1, 0, b"\x80"), [255, 255, 255]),
        (png(1, 2, 0, b"\x80"), [170, 170, 170]),
        (png(1, 16, 2, DEEP[:6]), [0x12, 0xFF, 0x00]),
        (png(1, 16, 6, DEEP), [0x12, 0xFF, 0x00]),
        (png(1, 16, 4, DEEP[:4]), [0x12, 0x12, 0x12]),
        (b"P6 1 1 1023\n" + struct.pack(">3H", 0, 512, 1023), [0, 128, 255]),
    ],
    ids=[
        "palette", "palette with alpha", "alpha", "grey with alpha", "gif", "webp", "cmyk", "1 bit", "2 bits",
        "16 bits", "16 bits with alpha", "16 bits grey with alpha", "10 bits",
    ],
)  # fmt: skip
def test_the_colours_of_the_first_frame_are_read_whatever_the_file_is_like(data: bytes, expected: list[int]) -> None:
    assert np.asarray(decode(data, 3)).reshape(-1).tolist() == expected


def test_the_orientation_of_the_metadata_is_ignored() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    assert decode(saved(Image.new("RGB", (3, 1)), "JPEG", exif=turned), 3).size == (3, 1)
