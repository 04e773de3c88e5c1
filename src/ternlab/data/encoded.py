"""Builds a data source from encoded image files: channels, size, and memory or stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import numpy as np
import torch

from ternlab.core.errors import SettingsError
from ternlab.core.signals import leave_if_asked
from ternlab.data.colour import Statistics, grey_statistics
from ternlab.data.decode import CorruptImage, decode, fit_square, is_grey, open_image
from ternlab.data.fingerprint import check_pairs
from ternlab.data.registry import DATA_SETS
from ternlab.data.settings import DataSettings
from ternlab.data.source import IMAGENET_MEAN, IMAGENET_STD, DataSource, Encoded, MemoryPart, StreamPart
from ternlab.data.stream import corrupt_error, warn_skipped

MEMORY_LIMIT = 2**30
"""Maximum bytes of decoded images that `storage=auto` keeps in memory."""
_PEEK = 64
_THREADS = 4
_CHUNK = 16
_LARGE = 96


@dataclass(frozen=True)
class Shape:
    """Channels and side in pixels of the images given to the network."""

    channels: int
    size: int


def assemble(
    settings: DataSettings,
    train: Encoded,
    test: Encoded,
    classes: tuple[str, ...],
    *,
    size: int | None = None,
    statistics: Statistics | None = None,
) -> DataSource:
    """Decide how the images are stored, and decode them if they are kept in memory.

    Args:
        train, test: the encoded images.
        classes: the class names.
        size: side of the network's input if `data.image_size` is not given; `None`: the images' own size.
        statistics: mean and standard deviation of each channel of colour images; `None`: compute them, or use
            ImageNet's for streamed images.

    Raises:
        SettingsError: the images differ in size and no size is given, an image is corrupt, or settings contradict each
            other.
    """
    shape = _shape(settings, train, size)
    storage = settings.storage if settings.storage != "auto" else DATA_SETS[settings.name].storage
    if storage is None:
        decoded = (len(train.labels) + len(test.labels)) * shape.channels * shape.size**2
        storage = "memory" if decoded <= MEMORY_LIMIT and not settings.random_resized_crop else "stream"
    check_pairs(settings, storage)
    if storage == "stream":
        return _streamed(settings, train, test, classes, shape, statistics)
    skipped: list[str] = []
    parts = [_decoded(settings, files, shape, skipped) for files in (train, test)]
    if skipped:
        warn_skipped(skipped)
    mean, std = statistics if statistics is not None and len(statistics[0]) == shape.channels else (None, None)
    return DataSource(parts[0], parts[1], classes, shape.channels, shape.size, mean, std, tuple(skipped))


def _streamed(
    settings: DataSettings,
    train: Encoded,
    test: Encoded,
    classes: tuple[str, ...],
    shape: Shape,
    statistics: Statistics | None,
) -> DataSource:
    mean, std = statistics or (IMAGENET_MEAN, IMAGENET_STD)
    if len(mean) > shape.channels:
        mean, std = grey_statistics(mean, std)
    resize = settings.resize or _default_resize(settings, shape.size)
    parts = [StreamPart(files, resize) for files in (train, test)]
    return DataSource(parts[0], parts[1], classes, shape.channels, shape.size, mean, std)


def _default_resize(settings: DataSettings, size: int) -> int:
    """Return the usual ratio of 256 for 224; images that already have the network's size are not scaled."""
    own_size = settings.image_size is None and DATA_SETS[settings.name].storage != "stream"
    return size if own_size else round(size * 256 / 224)


def _shape(settings: DataSettings, files: Encoded, size: int | None) -> Shape:
    """Determine channels and side from images spread over the training set; only their headers are read."""
    count = len(files.labels)
    sides, grey = set(), []
    for row in sorted({position * count // _PEEK for position in range(_PEEK)}):
        try:
            image = open_image(files.read(row))
        except (CorruptImage, OSError):
            continue  # skipped or fatal later, when all images are read
        sides.add(image.size)
        grey.append(is_grey(image))
    if not grey:
        rule = "none of the training images that were tried can be read"
        raise SettingsError("data", value=files.name(0), rule=rule, instead="data.root=PATH with image files")
    found = 1 if all(grey) and DATA_SETS[settings.name].storage != "stream" else 3
    return Shape(settings.channels or found, settings.image_size or size or _common_side(sides))


def _common_side(sides: set[tuple[int, int]]) -> int:
    if len(sides) == 1:
        width, height = next(iter(sides))
        if width == height:
            return width
    raise _size_error(sides)


def _size_error(sides: set[tuple[int, int]]) -> SettingsError:
    shown = ", ".join(f"{width}x{height}" for width, height in sorted(sides)[:5])
    shown += ", ..." if len(sides) > 5 else ""
    side = min(min(pair) for pair in sides)
    rule = f"the images must be square and of one size, but are {shown} (width x height)"
    return SettingsError("data", rule=rule, instead=f"data.image_size={side} to scale and center-crop them")


def _decoded(settings: DataSettings, files: Encoded, shape: Shape, skipped: list[str]) -> MemoryPart:
    """Decode all images into one tensor; the names of corrupt ones are added to `skipped`."""
    count = len(files.labels)
    images = np.empty((count, shape.channels, shape.size, shape.size), dtype=np.uint8)
    fixed = settings.image_size is not None or settings.name == "imagenet"

    def one(row: int) -> str:
        leave_if_asked()
        try:
            image = decode(files.read(row), shape.channels, convert=settings.channels is not None)
        except CorruptImage as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        if not fixed and image.size != (shape.size, shape.size):
            raise _size_error({image.size, (shape.size, shape.size)})
        pixels = np.asarray(fit_square(image, shape.size, shape.size))
        images[row] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
        return ""

    reasons = list(_run(one, count, parallel=_is_large(files, shape)))
    bad = [row for row, reason in enumerate(reasons) if reason]
    if not bad:
        return MemoryPart(torch.from_numpy(images), files.labels)
    if settings.on_error == "fail":
        raise corrupt_error(files.name(bad[0]), reasons[bad[0]])
    skipped += [files.name(row) for row in bad]
    good = np.array([not reason for reason in reasons])
    return MemoryPart(torch.from_numpy(images[good]), files.labels[torch.from_numpy(good)])


def _run(one: Callable[[int], str], count: int, *, parallel: bool) -> Iterator[str]:
    if not parallel:
        yield from map(one, range(count))
        return
    # Its threads do not keep the process alive while they wait for a file, unlike those of concurrent.futures.
    with ThreadPool(_THREADS) as pool:
        yield from pool.imap(one, range(count), _CHUNK)


def _is_large(files: Encoded, shape: Shape) -> bool:
    """Return whether threads pay off: below about 100 pixels they wait for the interpreter, not for the decoder.

    Measured on two cores with 32x32 JPEG files: 0.08 ms per image with one thread, 0.12 ms with two.
    """
    return shape.size >= _LARGE or len(files.read(0)) > 20_000
