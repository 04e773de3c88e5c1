"""Batches in a fixed order: the code that does not depend on where the images are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ternlab.core.errors import SettingsError
from ternlab.core.rng import epoch_order
from ternlab.data.augment import Normalise, augment, draw
from ternlab.data.source import MemoryPart

Batch = tuple[Tensor, Tensor]
"""Normalized images, float32 (count, channels, size, size), and labels, int64 (count,)."""


class EpochSampler:
    """Holds the epoch; Lightning calls `set_epoch` on the attribute `sampler` of a loader."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iteration uses."""
        self.epoch = epoch


@dataclass(frozen=True)
class Share:
    """One rank's part of every global batch.

    Attributes:
        batch_size: images in a global batch, over all ranks.
        rank, world_size: rank of this process, and number of processes.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        """Reject a batch that cannot be divided equally, because gradients are averaged over ranks."""
        if self.batch_size % self.world_size:
            size = self.world_size * max(1, self.batch_size // self.world_size)
            rule = f"must be divisible by the {self.world_size} processes that share it"
            raise SettingsError("data.batch_size", value=self.batch_size, rule=rule, instead=f"data.batch_size={size}")

    @property
    def own(self) -> slice:
        """Return the rank's slice of the global batch."""
        each = self.batch_size // self.world_size
        return slice(self.rank * each, (self.rank + 1) * each)


class TrainLoader(ABC):
    """Training batches; step k of epoch e is a pure function of (seed, e, k).

    Args:
        indices: rows of the training images, int64, shape (count,).
        share: the rank's part of the global batch; reduced if there are fewer images than one batch.
        seed: the run's seed.

    Attributes:
        sampler: holds the epoch; `sampler.set_epoch(e)` takes effect if called before the first batch is requested.
    """

    def __init__(self, indices: Tensor, share: Share, seed: int) -> None:
        self.indices = indices
        self.share = Share(min(share.batch_size, len(indices)), share.rank, share.world_size)
        self.seed = seed
        self.sampler = EpochSampler()
        self._start = 0

    def __len__(self) -> int:
        """Return the number of steps per epoch; an incomplete last batch is dropped."""
        return len(self.indices) // self.share.batch_size

    def start_at(self, step: int) -> None:
        """Make the next iteration, and only that one, start at batch `step` of its epoch.

        Raises:
            ValueError: `step` is not in 0..len(self).
        """
        if not 0 <= step <= len(self):
            raise ValueError(f"The value of `step` is {step}, but must be in 0..{len(self)}.")
        self._start = step

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the sampler's epoch.

        This is a generator on purpose: Lightning calls `iter()` before it sets the epoch, and discards some of the
        iterators. So the epoch and the start are read, and worker processes started, at the first `next()`.
        """
        epoch, start = self.sampler.epoch, self._start
        self._start = 0
        yield from self._batches(epoch, start)

    def rows(self, epoch: int) -> Tensor:
        """Return positions in `indices` in the epoch's order, int64, shape (steps, global batch size)."""
        order = epoch_order(len(self.indices), self.seed, epoch)
        return order[: len(self) * self.share.batch_size].view(len(self), self.share.batch_size)

    @abstractmethod
    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Yield this rank's part of the batches `start`, `start + 1`, ... of an epoch."""


class MemoryTrainLoader(TrainLoader):
    """Training batches of in-memory images, augmented with tensor operations.

    Args:
        part: the images.
        normalise: maps uint8 images to the network's input.
        flip: flip images at random.
        padding: pixels of zero padding before a random crop of the original size.
    """

    def __init__(
        self,
        part: MemoryPart,
        indices: Tensor,
        share: Share,
        seed: int,
        normalise: Normalise,
        flip: bool,
        padding: int,
    ) -> None:
        super().__init__(indices, share, seed)
        self.part = part
        self.normalise = normalise
        self.flip = flip
        self.padding = padding

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        own = self.share.own
        for step, places in enumerate(self.rows(epoch)[start:], start):
            rows = self.indices[places[own]]
            # Drawn for the global batch and then sliced, so that images do not depend on the number of ranks.
            draws = draw(len(places), flip=self.flip, padding=self.padding, key=(self.seed, epoch, step))
            images = augment(self.part.images[rows], draws, self.padding, own)
            yield self.normalise(images), self.part.labels[rows]


class MemoryEvalLoader:
    """Evaluation batches of in-memory images: rows `rank::world_size` in order, none repeated or omitted."""

    def __init__(self, part: MemoryPart, indices: Tensor, batch_size: int, normalise: Normalise) -> None:
        self.part = part
        self.indices = indices
        self.batch_size = batch_size
        self.normalise = normalise

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        for rows in torch.split(self.indices, self.batch_size) if len(self.indices) else ():
            yield self.normalise(self.part.images[rows]), self.part.labels[rows]
