"""Batches of images that are read and decoded by worker processes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ternlab.core.errors import SettingsError
from ternlab.data.augment import Normalise
from ternlab.data.decode import CorruptImage, decode, to_tensor
from ternlab.data.loaders import Batch, Share, TrainLoader
from ternlab.data.source import Encoded
from ternlab.data.transforms import View

Key = tuple[int, int]
"""Epoch, and position in the loader's indices."""
Found = dict[int, str]
"""Rows of corrupt images, with the reason for each."""
Sample = tuple[Tensor | None, int, Found]
RawBatch = tuple[Tensor | None, Tensor, Found]


def corrupt_error(name: str, reason: str) -> SettingsError:
    """Return the error that stops a run at a corrupt image."""
    instead = "data.on_error=skip, or repair or remove it"
    return SettingsError("data", value=name, rule=f"is not a readable image ({reason})", instead=instead)


def warn_skipped(names: Sequence[str]) -> None:
    """Warn once about skipped corrupt images."""
    shown = ", ".join(names[:5]) + (", ..." if names[5:] else "")
    warnings.warn(f"{len(names)} corrupt image(s) skipped: {shown}", UserWarning, stacklevel=2)


@dataclass
class Skips:
    """The corrupt images found so far, counted in the main process.

    Attributes:
        allowed: whether corrupt images are skipped (`on_error=skip`) rather than fatal.
        names: the skipped images, each once, in the order found.
    """

    allowed: bool
    names: dict[str, str] = field(default_factory=dict)

    def note(self, files: Encoded, found: Found) -> None:
        """Count the corrupt images of a batch; raise an error unless they may be skipped."""
        for row, reason in found.items():
            name = files.name(row)
            if not self.allowed:
                raise corrupt_error(name, reason)
            if not self.names:
                warn_skipped([name])
            self.names.setdefault(name, reason)


class ImageStream(Dataset[Sample]):
    """Reads one image per key; runs in worker processes and must be picklable.

    A corrupt image is reported, not raised, because an exception loses its type when it leaves a worker.

    Args:
        files: the encoded images.
        indices: the rows to use, int64, shape (count,).
        channels: 1 (grey) or 3 (RGB).
        view: turns a decoded image into the network's input.
        replace: replace a corrupt image with the next readable one.
        convert: make colour images grey if `channels` is 1, instead of refusing them.
    """

    def __init__(
        self, files: Encoded, indices: Tensor, channels: int, view: View, *, replace: bool, convert: bool
    ) -> None:
        self.files = files
        self.indices = indices
        self.channels = channels
        self.view = view
        self.replace = replace
        self.convert = convert

    def __getitem__(self, key: Key) -> Sample:
        """Return pixels (uint8 or `None`), label, and the corrupt images that were found."""
        place = key[1]
        found: Found = {}
        for step in range(len(self.indices) if self.replace else 1):
            row = int(self.indices[(place + step) % len(self.indices)])
            try:
                image = decode(self.files.read(row), self.channels, convert=self.convert)
            except CorruptImage as error:
                found[row] = str(error)
            except OSError as error:
                found[row] = error.strerror or str(error)
            else:
                return to_tensor(self.view(image, key)), int(self.files.labels[row]), found
        return None, -1, found


def collate(samples: Sequence[Sample]) -> RawBatch:
    """Stack the samples that have pixels; the images are `None` if there are none."""
    good = [(pixels, label) for pixels, label, _ in samples if pixels is not None]
    found = {row: reason for *_, part in samples for row, reason in part.items()}
    images = torch.stack([pixels for pixels, _ in good]) if good else None
    return images, torch.tensor([label for _, label in good], dtype=torch.int64), found


@dataclass(frozen=True)
class Reading:
    """What the streamed loaders share: images, workers, and the processing of batches in the main process."""

    stream: ImageStream
    workers: int
    normalise: Normalise
    skips: Skips

    def batches(self, keys: list[list[Key]]) -> Iterator[Batch]:
        """Yield one batch for every list of keys; a batch without readable images is skipped."""
        # Without its own generator, the loader would draw its workers' seed from the global one.
        loader = DataLoader(
            self.stream,
            batch_sampler=keys,
            num_workers=self.workers,
            collate_fn=collate,
            generator=torch.Generator(),
        )
        for images, labels, found in loader:
            self.skips.note(self.stream.files, found)
            if images is not None:
                yield self.normalise(images), labels


class StreamTrainLoader(TrainLoader):
    """Training batches from worker processes; sample i of epoch e is a pure function of (seed, e, i)."""

    def __init__(self, reading: Reading, share: Share, seed: int) -> None:
        super().__init__(reading.stream.indices, share, seed)
        self.reading = reading

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        places = self.rows(epoch)[start:, self.share.own].tolist()
        yield from self.reading.batches([[(epoch, place) for place in batch] for batch in places])


class StreamEvalLoader:
    """Evaluation batches from worker processes; a skipped corrupt image makes its batch smaller."""

    def __init__(self, reading: Reading, batch_size: int) -> None:
        self.reading = reading
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.reading.stream.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches in order."""
        places = range(len(self.reading.stream.indices))
        starts = range(0, len(places), self.batch_size)
        keys = [[(0, place) for place in places[start : start + self.batch_size]] for start in starts]
        yield from self.reading.batches(keys)
