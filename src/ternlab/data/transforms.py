"""Turns one streamed image into the network's input: a random crop in training, the center crop in evaluation."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from ternlab.core.rng import generator
from ternlab.data.decode import fit_square

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)


class View(Protocol):
    """A picklable function of the decoded image and the key of its random draw."""

    def __call__(self, image: Image.Image, key: tuple[int, int]) -> Image.Image:
        """Return a square image; `key` is (epoch, position in the loader's indices)."""
        ...


class CentreView:
    """Scale the shorter side to `resize` and center-crop to `size`."""

    def __init__(self, resize: int, size: int) -> None:
        self.resize = resize
        self.size = size

    def __call__(self, image: Image.Image, key: tuple[int, int]) -> Image.Image:
        """Return the center crop; the key is not used."""
        return fit_square(image, self.resize, self.size)


class TrainView:
    """The training view: a random resized crop or the center crop, flipped at random.

    torchvision's classes draw from the global generator. So the draws are made here, from a generator keyed by (seed,
    epoch, position), and only the pixel operations are torchvision's.
    """

    def __init__(self, resize: int, size: int, seed: int, random_crop: bool, flip: bool) -> None:
        self.resize = resize
        self.size = size
        self.seed = seed
        self.random_crop = random_crop
        self.flip = flip

    def __call__(self, image: Image.Image, key: tuple[int, int]) -> Image.Image:
        """Return the view for (epoch, position)."""
        source = generator("view", self.seed, *key)
        mirror = torch.rand(1, generator=source).item() < 0.5
        if self.random_crop:
            top, left, height, width = crop_box(image.height, image.width, source)
            image = functional.resized_crop(image, top, left, height, width, [self.size, self.size], antialias=True)
        else:
            image = fit_square(image, self.resize, self.size)
        return functional.horizontal_flip(image) if mirror and self.flip else image


def crop_box(height: int, width: int, source: torch.Generator) -> tuple[int, int, int, int]:
    """Draw a crop with 8..100 % of the area and an aspect ratio of 3:4..4:3; return top, left, height, width.

    As in `torchvision.transforms.RandomResizedCrop`: ten tries, then the largest center crop with an allowed aspect
    ratio.
    """
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    for _ in range(10):
        share, tilt, across, down = torch.rand(4, generator=source, dtype=torch.float64).tolist()
        area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
        aspect = math.exp(low + tilt * (high - low))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return int(down * (height - tall + 1)), int(across * (width - wide + 1)), tall, wide
    aspect = min(max(width / height, ASPECT[0]), ASPECT[1])
    wide, tall = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    return (height - tall) // 2, (width - wide) // 2, tall, wide
