"""The data module: limits, split, statistics, and inside a real Lightning trainer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from ternlab.core.errors import SettingsError
from ternlab.data.module import ImageDataModule
from ternlab.data.source import DataSource, MemoryPart
from ternlab.data.statistics import channel_statistics

Ready = Callable[..., ImageDataModule]


def _labels(data: ImageDataModule) -> list[int]:
    return data.train_dataloader().indices.tolist()


def test_smaller_limit_is_a_prefix_of_a_larger_one(ready: Ready) -> None:
    small, large, whole = (ready(name="digits", limit_train=limit) for limit in (100, 200, None))
    assert small.train_count == 100 and large.train_count == 200
    assert _labels(small) == _labels(large)[:100] == _labels(whole)[:100]
    assert small.val_count == whole.val_count


def test_split_follows_split_seed_and_not_seed(ready: Ready) -> None:
    first, again, other = ready(name="digits"), ready(name="digits", seed=7), ready(name="digits", split_seed=1)
    assert _labels(first) == _labels(again) != _labels(other)


def test_validation_and_training_are_disjoint(ready: Ready) -> None:
    data = ready(name="digits")
    held = data.val_dataloader()
    assert not isinstance(held, list)
    assert not set(held.indices.tolist()) & set(_labels(data))  # type: ignore[union-attr]


def test_fraction_too_small_for_one_image_is_refused(ready: Ready) -> None:
    with pytest.raises(SettingsError, match="no validation image"):
        ready(name="digits", val_fraction=0.0001)


def test_setup_twice_keeps_the_loader(ready: Ready) -> None:
    data = ready(name="digits")
    loader = data.train_dataloader()
    data.setup("fit")
    assert data.train_dataloader() is loader


def test_image_size_scales_images_in_memory(ready: Ready) -> None:
    data = ready(name="digits", image_size=12)
    assert data.size == 12 and next(iter(data.train_dataloader()))[0].shape[-2:] == (12, 12)
    assert data.preprocessing()["resize"] == 12


def test_statistics_are_exact() -> None:
    images = torch.randint(0, 256, (1203, 3, 4, 4)).to(torch.uint8)
    images[:, 2] = 7
    rows = torch.randperm(1203)[:1100]
    mean, std = channel_statistics(images, rows)
    pixels = images[rows].double() / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std[:2] == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist()[:2], abs=1e-12)
    assert std[2] == 1.0, "a constant channel is not divided by zero"


class _Watcher(pl.LightningModule):
    """Notes the labels it is given, per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[int]]] = []
        self.held = 0

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch[1].tolist()))
        return self.weight.sum()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        self.held += len(batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _trainer(folder: Path, **options: object) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", default_root_dir=folder, enable_model_summary=False, **quiet, **options)


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_lightning_sees_the_promised_order(ready: Ready, tmp_path: Path, fraction: float) -> None:
    data, twin = (ready(name="digits", val_fraction=fraction, limit_train=300) for _ in range(2))
    watcher = _Watcher()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on logging intervals
        _trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(watcher, datamodule=data)
    loader = twin.train_dataloader()
    expected = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        expected += [(epoch, labels.tolist()) for _, labels in loader]
    assert watcher.seen == expected
    assert watcher.held == 2 * data.val_count


def test_trainer_with_other_ranks_is_refused(ready: Ready, tmp_path: Path) -> None:
    data = ready(name="digits", world_size=2)
    trainer = _trainer(tmp_path, max_epochs=1)
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="built for rank"):  # noqa: PT012
        warnings.simplefilter("ignore")  # Lightning calls what torch has deprecated
        trainer.fit(_Watcher(), datamodule=data)


def test_loaders_before_setup_are_refused(tmp_path: Path) -> None:
    from ternlab.data.module import build_data
    from ternlab.data.settings import DataSettings

    with pytest.raises(RuntimeError, match="setup"):
        build_data(DataSettings(), data_dir=tmp_path, seed=0).train_dataloader()


@pytest.mark.parametrize("label", [-1, 2])
def test_a_loader_whose_labels_are_not_classes_is_refused(
    ready: Ready, monkeypatch: pytest.MonkeyPatch, label: int
) -> None:
    part = MemoryPart(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1] * 10))
    wrong = MemoryPart(part.images, torch.tensor([0, 1] * 8 + [label] * 4))
    source = DataSource(part, wrong, ("a", "b"), 1, 8)
    monkeypatch.setattr("ternlab.data.digits.load", lambda settings, folder: source)
    with pytest.raises(ValueError, match=rf"label of 4 test images, such as {label}, must be in 0\.\.1, the 2 classes"):
        ready(name="digits")
