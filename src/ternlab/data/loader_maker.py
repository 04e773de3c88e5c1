"""Makes the loaders of one process, whether the images are in memory or streamed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ternlab.data.augment import Normalise
from ternlab.data.loaders import MemoryEvalLoader, MemoryTrainLoader, Share, TrainLoader
from ternlab.data.settings import DataSettings
from ternlab.data.source import DataSource, MemoryPart, StreamPart
from ternlab.data.stream import ImageStream, Reading, Skips, StreamEvalLoader, StreamTrainLoader
from ternlab.data.transforms import CentreView, TrainView, View

EvalLoader = MemoryEvalLoader | StreamEvalLoader


@dataclass(frozen=True)
class LoaderMaker:
    """Makes the loaders of one process.

    Attributes:
        settings: augmentation, batch sizes and workers.
        source: the images.
        normalise: maps uint8 images to the network's input.
        share: the process's part of every batch.
        seed: the run's seed.
        skips: counts the corrupt images of all loaders.
    """

    settings: DataSettings
    source: DataSource
    normalise: Normalise
    share: Share
    seed: int
    skips: Skips

    def training(self, rows: Tensor) -> TrainLoader:
        """Return the loader of the training images `rows`, int64, shape (count,)."""
        settings, part = self.settings, self.source.train
        if isinstance(part, MemoryPart):
            augmentation = settings.flip, settings.crop_padding
            return MemoryTrainLoader(part, rows, self.share, self.seed, self.normalise, *augmentation)
        view = TrainView(part.resize, self.source.size, self.seed, settings.random_resized_crop, settings.flip)
        return StreamTrainLoader(self._reading(part, rows, view, replace=self.skips.allowed), self.share, self.seed)

    def evaluation(self, part: MemoryPart | StreamPart, rows: Tensor | None = None) -> EvalLoader:
        """Return the loader of this process's share of the images `rows` of a part (`None`: all)."""
        every = torch.arange(len(part.labels)) if rows is None else rows
        own, size = every[self.share.rank :: self.share.world_size], self.settings.eval_batch_size
        if isinstance(part, MemoryPart):
            return MemoryEvalLoader(part, own, size, self.normalise)
        view = CentreView(part.resize, self.source.size)
        return StreamEvalLoader(self._reading(part, own, view, replace=False), size)

    def _reading(self, part: StreamPart, rows: Tensor, view: View, *, replace: bool) -> Reading:
        convert = self.settings.channels is not None
        stream = ImageStream(part.files, rows, self.source.channels, view, replace=replace, convert=convert)
        return Reading(stream, self.settings.workers, self.normalise, self.skips)
