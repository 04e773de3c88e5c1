"""Batches of images that worker processes read and decode."""

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
"""Epoch, and place in the loader's indices."""
Found = dict[int, str]
"""Rows of corrupt images, and what is wrong with each."""
Sample = tuple[Tensor | None, int, Found]
RawBatch = tuple[Tensor | None, Tensor, Found]


def corrupt_error(name: str, reason: str) -> SettingsError:
    """Return the error that stops a run at a corrupt image."""
    instead = "repair or remove it, or data.on_error=skip"
    return SettingsError("data", value=name, rule=f"is not a readable image ({reason})", instead=instead)


def warn_skipped(names: Sequence[str]) -> None:
    """Warn once of the corrupt images that are left out."""
    shown = ", ".join(names[:5]) + (", ..." if names[5:] else "")
    warnings.warn(f"{len(names)} corrupt image(s) skipped: {shown}", UserWarning, stacklevel=2)


@dataclass
class Skips:
    """The corrupt images met so far, counted in the main process.

    Attributes:
        allowed: whether corrupt images are left out (`on_error=skip`) rather than fatal.
        names: what was left out, each once, in the order met.
    """

    allowed: bool
    names: dict[str, str] = field(default_factory=dict)

    def note(self, files: Encoded, found: Found) -> None:
        """Count what a batch reports; stop at it unless it may be left out."""
        for row, reason in found.items():
            name = files.name(row)
            if not self.allowed:
                raise corrupt_error(name, reason)
            if not self.names:
                warn_skipped([name])
            self.names.setdefault(name, reason)


class ImageStream(Dataset[Sample]):
    """Reads one image per key; runs in worker processes and must stay picklable.

    A corrupt image is reported, not raised, since an exception loses its type on the way out of a worker.

    Args:
        files: the encoded images.
        indices: the rows used, int64, shape (count,).
        channels: 1 (grey) or 3 (RGB).
        view: makes the network's input of a decoded image.
        replace: put the next readable image in the place of a corrupt one.
    """

    def __init__(self, files: Encoded, indices: Tensor, channels: int, view: View, replace: bool) -> None:
        self.files = files
        self.indices = indices
        self.channels = channels
        self.view = view
        self.replace = replace

    def __getitem__(self, key: Key) -> Sample:
        """Return pixels (uint8 or `None`), label and the corrupt images that were met."""
        place = key[1]
        found: Found = {}
        for step in range(len(self.indices) if self.replace else 1):
            row = int(self.indices[(place + step) % len(self.indices)])
            try:
                image = decode(self.files.read(row), self.channels)
            except CorruptImage as error:
                found[row] = str(error)
            except OSError as error:
                found[row] = error.strerror or str(error)
            else:
                return to_tensor(self.view(image, key)), int(self.files.labels[row]), found
        return None, -1, found


def collate(samples: Sequence[Sample]) -> RawBatch:
    """Join the samples that hold pixels; the images are `None` when there are none."""
    good = [(pixels, label) for pixels, label, _ in samples if pixels is not None]
    found = {row: reason for *_, part in samples for row, reason in part.items()}
    images = torch.stack([pixels for pixels, _ in good]) if good else None
    return images, torch.tensor([label for _, label in good], dtype=torch.int64), found


@dataclass(frozen=True)
class Reading:
    """What the streamed loaders share: images, workers, and what becomes of a batch in the main process."""

    stream: ImageStream
    workers: int
    normalise: Normalise
    skips: Skips

    def batches(self, keys: list[list[Key]]) -> Iterator[Batch]:
        """Yield one batch for every list of keys; without readable images a batch is left out."""
        # Without a generator of its own the loader would draw its workers' seed from the global one.
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
    """Evaluation batches from worker processes; a corrupt image that is skipped makes its batch smaller."""

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
