"""The LightningDataModule for any registered data set."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from ternlab.core.errors import SettingsError
from ternlab.core.signals import stop_at_once
from ternlab.data.augment import Normalise
from ternlab.data.colour import with_channels
from ternlab.data.coverage import check_labels, class_warnings
from ternlab.data.fingerprint import check_data, data_folder
from ternlab.data.loader_maker import EvalLoader, LoaderMaker
from ternlab.data.loaders import Share, TrainLoader
from ternlab.data.naming import named
from ternlab.data.normalization import check_normalization
from ternlab.data.registry import DATA_SETS
from ternlab.data.settings import DataSettings
from ternlab.data.source import DataSource, MemoryPart
from ternlab.data.split import split
from ternlab.data.statistics import channel_statistics
from ternlab.data.stream import Skips

_log = logging.getLogger(__name__)


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
        prepare = DATA_SETS[self.settings.name].prepare
        # Trainers call this again before the validation at the end, which a signal must not stop.
        if prepare is not None and self._loaded is None:
            with stop_at_once():
                _function(prepare)(self.settings, data_folder(self.settings, self.data_dir))

    def setup(self, stage: str | None = None) -> None:
        """Load the images and split them; a second call has no effect, whatever the stage.

        Raises:
            SettingsError: the files cannot be used, or the settings leave no training or validation images.
        """
        if self._loaded is None:
            with stop_at_once():
                self._load()

    def _load(self) -> None:
        load = _function(DATA_SETS[self.settings.name].loader)
        source = with_channels(load(self.settings, data_folder(self.settings, self.data_dir)), self.settings.channels)
        check_labels(source)
        train, self._val_rows = split(source.train.labels, self.settings.val_fraction, self.settings.split_seed)
        self._train_rows = train[: self.settings.limit_train]
        self._check_counts()
        if self._share.rank == 0:
            _announce(source)
        self.channels, self.size = source.channels, source.size
        self.classes = named(source.classes, self.settings.class_names)
        self.train_count, self.val_count = len(self._train_rows), len(self._val_rows)
        self.test_count = len(source.test.labels)
        self.mean, self.std = self._statistics(source)
        normalise = Normalise(self.mean, self.std)
        self._make = LoaderMaker(self.settings, source, normalise, self._share, self.seed, self._skips)
        self._train_loader = self._make.training(self._train_rows)
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
        check_normalization(self.settings, source.channels)
        if self.settings.mean is not None and self.settings.std is not None:
            return self.settings.mean, self.settings.std
        if source.mean is not None and source.std is not None:
            return source.mean, source.std
        assert isinstance(source.train, MemoryPart), "a loader of streamed images gives mean and std itself"
        return channel_statistics(source.train.images, self._train_rows)

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
        return self._make.evaluation(self._source.train, self._val_rows) if self.settings.val_fraction else []

    def test_dataloader(self) -> EvalLoader:
        """Return the test loader."""
        return self._make.evaluation(self._source.test)

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


def _announce(source: DataSource) -> None:
    if source.about_test:
        _log.info("%s", source.about_test)
    for line in class_warnings(source):
        _log.warning("%s", line)


def _function(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
