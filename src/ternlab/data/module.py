"""The LightningDataModule for any registered data set."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ternlab.core.errors import SettingsError
from ternlab.data.augment import Normalise
from ternlab.data.fingerprint import check_data, data_folder
from ternlab.data.loaders import MemoryEvalLoader, MemoryTrainLoader, Share, TrainLoader
from ternlab.data.registry import DATA_SETS
from ternlab.data.settings import DataSettings
from ternlab.data.source import DataSource, MemoryPart, StreamPart
from ternlab.data.split import split
from ternlab.data.statistics import channel_statistics
from ternlab.data.stream import ImageStream, Reading, Skips, StreamEvalLoader, StreamTrainLoader
from ternlab.data.transforms import CentreView, TrainView

EvalLoader = MemoryEvalLoader | StreamEvalLoader


def open_data(settings: DataSettings, data_dir: Path, seed: int) -> ImageDataModule:
    """Return the data module of one process, downloaded if needed and set up; for the arguments see `build_data`.

    Raises:
        SettingsError: the data cannot be used.
    """
    data = build_data(settings, data_dir=data_dir, seed=seed)
    data.prepare_data()
    data.setup()
    return data


def build_data(
    settings: DataSettings, *, data_dir: Path, seed: int, rank: int = 0, world_size: int = 1
) -> ImageDataModule:
    """Return the data module of `settings`; its `prepare_data` and `setup` read the files.

    Args:
        settings: the validated settings.
        data_dir: folder with one subfolder per public data set.
        seed: the run's seed; it determines order and augmentation, not the split.
        rank: rank of this process, 0 <= rank < `world_size`.
        world_size: number of processes that share each global batch.

    Raises:
        SettingsError: as for `ternlab.data.fingerprint.check_data`, or the batch is not divisible by `world_size`.
        ValueError: `rank` is not below `world_size`.
    """
    return ImageDataModule(settings, data_dir, seed, rank, world_size)


class ImageDataModule(pl.LightningDataModule):
    """Images and labels in a fixed, resumable order; see `build_data`.

    Batches are normalized images, float32 (count, channels, size, size), and labels, int64 (count,). The attributes
    below are set by `setup()`.

    Attributes:
        train_count, val_count, test_count: images in each split, over all ranks.
    """

    def __init__(self, settings: DataSettings, data_dir: Path, seed: int, rank: int, world_size: int) -> None:
        super().__init__()
        if not 0 <= rank < world_size:
            raise ValueError(f"The value of `rank` is {rank}, but must be in 0..{world_size - 1}.")
        self.settings = settings
        self.seed = seed
        self.data_dir = data_dir
        self._share = Share(settings.batch_size, rank, world_size)
        self._skips = Skips(allowed=settings.on_error == "skip")
        self._loaded: DataSource | None = None
        self._train_loader: TrainLoader | None = None
        check_data(settings, data_dir)

    def prepare_data(self) -> None:
        """Download missing files; a second call has no effect.

        Raises:
            SettingsError: the data set is missing and cannot be downloaded.
        """
        if prepare := DATA_SETS[self.settings.name].prepare:
            _function(prepare)(self.settings, data_folder(self.settings, self.data_dir))

    def setup(self, stage: str | None = None) -> None:
        """Load the images and split them; a second call has no effect, whatever the stage.

        Raises:
            SettingsError: the files cannot be used, or the settings leave no training or validation images.
        """
        if self._loaded is not None:
            return
        source: DataSource = _function(DATA_SETS[self.settings.name].loader)(
            self.settings, data_folder(self.settings, self.data_dir)
        )
        train, self._val_rows = split(source.train.labels, self.settings.val_fraction, self.settings.split_seed)
        self._train_rows = train[: self.settings.limit_train]
        self._check_counts()
        self.channels, self.size, self.classes = source.channels, source.size, source.classes
        self.train_count, self.val_count = len(self._train_rows), len(self._val_rows)
        self.test_count = len(source.test.labels)
        self.mean, self.std = self._statistics(source)
        self._normalise = Normalise(self.mean, self.std)
        self._train_loader = self._make_train_loader(source)
        self._loaded = source

    def _check_counts(self) -> None:
        if self.settings.val_fraction and not len(self._val_rows):
            rule = f"leaves no validation images out of {len(self._train_rows)} training images"
            raise SettingsError(
                "data.val_fraction",
                value=self.settings.val_fraction,
                rule=rule,
                instead="data.val_fraction=0, or a larger fraction",
            )
        if not len(self._train_rows):
            rule, instead = "there are no training images", "data.root=PATH (with images in its training part)"
            raise SettingsError("data", value=self.settings.name, rule=rule, instead=instead)

    def _statistics(self, source: DataSource) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if source.mean is not None and source.std is not None:
            return source.mean, source.std
        assert isinstance(source.train, MemoryPart), "a loader of streamed images gives mean and std itself"
        return channel_statistics(source.train.images, self._train_rows)

    def _make_train_loader(self, source: DataSource) -> TrainLoader:
        settings, part = self.settings, source.train
        if isinstance(part, MemoryPart):
            augmentation = settings.flip, settings.crop_padding
            return MemoryTrainLoader(part, self._train_rows, self._share, self.seed, self._normalise, *augmentation)
        view = TrainView(part.resize, source.size, self.seed, settings.random_resized_crop, settings.flip)
        stream = ImageStream(part.files, self._train_rows, source.channels, view, replace=self._skips.allowed)
        return StreamTrainLoader(
            Reading(stream, settings.workers, self._normalise, self._skips), self._share, self.seed
        )

    def _make_eval_loader(self, part: MemoryPart | StreamPart, rows: Tensor | None) -> EvalLoader:
        source = self._source
        share, size = self._share, self.settings.eval_batch_size
        own = (torch.arange(len(part.labels)) if rows is None else rows)[share.rank :: share.world_size]
        if isinstance(part, MemoryPart):
            return MemoryEvalLoader(part, own, size, self._normalise)
        view = CentreView(part.resize, source.size)
        stream = ImageStream(part.files, own, source.channels, view, replace=False)
        return StreamEvalLoader(Reading(stream, self.settings.workers, self._normalise, self._skips), size)

    @property
    def _source(self) -> DataSource:
        if self._loaded is None:
            raise RuntimeError("The data module is not ready: call setup() first.")
        return self._loaded

    def train_dataloader(self) -> TrainLoader:
        """Return the training loader; always the same object, so that `start_at` affects Lightning's loader."""
        assert self._source and self._train_loader is not None
        self._check_trainer()
        return self._train_loader

    def val_dataloader(self) -> EvalLoader | list[EvalLoader]:
        """Return the validation loader; without validation an empty list, which tells Lightning that there is none."""
        return self._make_eval_loader(self._source.train, self._val_rows) if self.settings.val_fraction else []

    def test_dataloader(self) -> EvalLoader:
        """Return the test loader."""
        return self._make_eval_loader(self._source.test, None)

    def _check_trainer(self) -> None:
        """Reject a trainer with other ranks: all processes would silently train on the same images."""
        if self.trainer is None:
            return
        given = self._share.rank, self._share.world_size
        found = self.trainer.global_rank, self.trainer.world_size
        if given != found:
            raise RuntimeError(
                f"The data module was built for rank, world size = {given}, but the trainer has {found}."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch without gradient accumulation."""
        return len(self.train_dataloader())

    @property
    def skipped(self) -> int:
        """Number of corrupt images skipped so far, each counted once."""
        return len(self._source.skipped) + len(self._skips.names)

    def preprocessing(self) -> dict[str, Any]:
        """Return the preprocessing that an image file needs before the network, as plain JSON values.

        Convert to `channels` (1: grey, 3: RGB), scale the shorter side to `resize` pixels with `interpolation`,
        center-crop to `crop`, divide by 255, subtract `mean` and divide by `std`.
        """
        source = self._source
        resize = source.size if isinstance(source.train, MemoryPart) else source.train.resize
        return {
            "channels": self.channels,
            "size": self.size,
            "resize": resize,
            "interpolation": "bilinear, antialiased",
            "crop": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def _function(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
