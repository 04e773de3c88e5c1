"""The result of a data loader function: decoded images, or a way to read them one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoded(Protocol):
    """Encoded image files; must be picklable, because worker processes read from it.

    Attributes:
        labels: class indices, int64, shape (count,).
    """

    labels: Tensor

    def read(self, index: int) -> bytes:
        """Return the bytes of the image file `index`."""
        ...

    def name(self, index: int) -> str:
        """Return what the user needs to find image `index`: the file, or the file and the row."""
        ...


@dataclass(frozen=True)
class MemoryPart:
    """Decoded images.

    Attributes:
        images: uint8, shape (count, channels, size, size).
        labels: int64, shape (count,).
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Check shapes and types, which third-party loaders may get wrong."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or len(self.images) != len(self.labels):
            shapes = f"{self.images.dtype} {tuple(self.images.shape)} with {len(self.labels)} labels"
            raise ValueError(f"The value of `images` is {shapes}, but must be uint8 (count, channels, size, size).")


@dataclass(frozen=True)
class StreamPart:
    """Images that are read and decoded on demand.

    Attributes:
        files: the encoded images.
        resize: in evaluation, the shorter side is scaled to this many pixels before the center crop.
    """

    files: Encoded
    resize: int

    @property
    def labels(self) -> Tensor:
        """Class indices, int64, shape (count,)."""
        return self.files.labels


@dataclass(frozen=True)
class DataSource:
    """A data set before the validation split; `train` and `test` are either both in memory or both streamed.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        size: side of the square image given to the network, in pixels.
        mean, std: mean and standard deviation per channel on the scale 0..1; `None`: computed from the training
            images.
        skipped: names of the corrupt images that were skipped (`on_error=skip`).
        about_test: one line for the user about which files the test images come from, and why; empty if there is
            only one way to read the data set.
    """

    train: MemoryPart | StreamPart
    test: MemoryPart | StreamPart
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    skipped: tuple[str, ...] = field(default=())
    about_test: str = ""
