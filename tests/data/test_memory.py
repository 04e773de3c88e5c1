"""Order, augmentation and resuming of images in memory, on the real digits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ternlab.core.errors import SettingsError
from ternlab.data.augment import Draws, Normalise, augment, draw
from ternlab.data.loaders import Batch, MemoryEvalLoader, MemoryTrainLoader, Share
from ternlab.data.module import ImageDataModule
from ternlab.data.source import MemoryPart

Ready = Callable[..., ImageDataModule]
AUGMENTED = {"flip": True, "crop_padding": 2}


def same(first: list[Batch], second: list[Batch]) -> bool:
    """Compare two runs of batches bit for bit."""
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def loader(count: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1) -> MemoryTrainLoader:
    """Return a loader of `count` images of noise, each labelled with its row."""
    images = torch.randint(0, 256, (count, 3, 6, 6), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    part = MemoryPart(images, torch.arange(count))
    return MemoryTrainLoader(
        part, torch.arange(count), Share(batch, rank, world), seed, Normalise((0.5,) * 3, (0.2,) * 3), True, 1
    )


def test_digits_have_the_documented_parts(ready: Ready) -> None:
    data = ready(name="digits")
    assert (data.channels, data.size, data.test_count) == (1, 8, 359)
    assert (data.train_count, data.val_count) == (1294, 144)
    assert data.classes == tuple("0123456789")
    images, labels = next(iter(data.train_dataloader()))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.shape == (128, 1, 8, 8)
    assert data.steps_per_epoch == len(data.train_dataloader()) == 10


def test_published_statistics_of_the_digits_are_those_of_their_images(ready: Ready) -> None:
    data = ready(name="digits", val_fraction=0.0, batch_size=1438)
    images = next(iter(data.train_dataloader()))[0]
    assert abs(images.mean()) < 1e-3 and abs(images.std() - 1) < 1e-3


def test_preprocessing_reproduces_the_test_images(ready: Ready) -> None:
    from sklearn.datasets import load_digits

    data = ready(name="digits", eval_batch_size=400)
    images, labels = next(iter(data.test_dataloader()))
    raw = torch.from_numpy(load_digits().images).mul(255 / 16).round()[:, None].float()
    step = data.preprocessing()
    expected = (raw / 255 - step["mean"][0]) / step["std"][0]
    found = {tuple(image.flatten().tolist()) for image in expected}
    assert all(tuple(image.flatten().tolist()) in found for image in images)
    assert labels.bincount().tolist() == pytest.approx([36] * 10, abs=1)


@pytest.mark.parametrize("start", range(11))
def test_resuming_at_any_step_equals_the_uninterrupted_epoch(ready: Ready, start: int) -> None:
    whole, resumed = (ready(name="digits", **AUGMENTED).train_dataloader() for _ in range(2))
    for train in (whole, resumed):
        train.sampler.set_epoch(3)
    resumed.start_at(start)
    full = list(whole)
    assert same(list(resumed), full[start:])
    assert same(list(resumed), full), "the start counts once"


def test_epoch_set_after_iter_counts_and_a_thrown_away_iterator_costs_nothing(ready: Ready) -> None:
    train = ready(name="digits", **AUGMENTED).train_dataloader()
    train.sampler.set_epoch(1)
    expected = list(train)
    train.sampler.set_epoch(0)
    train.start_at(4)
    iter(train)  # Lightning tries whether the loader can be iterated
    batches = iter(train)
    train.sampler.set_epoch(1)
    assert same(list(batches), expected[4:])


def test_epochs_and_seeds_differ_and_each_epoch_shows_every_image_once() -> None:
    train = loader(40, 8)
    first = torch.cat([labels for _, labels in train]).tolist()
    train.sampler.set_epoch(1)
    second = torch.cat([labels for _, labels in train]).tolist()
    other = torch.cat([labels for _, labels in loader(40, 8, seed=1)]).tolist()
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second and first != other and second != other


def test_augmentation_of_the_same_image_changes_with_the_epoch() -> None:
    train = loader(1, 1)
    seen = set()
    for epoch in range(20):
        train.sampler.set_epoch(epoch)
        seen.add(tuple(next(iter(train))[0].flatten().tolist()))
    assert len(seen) > 5


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 5), st.sampled_from([1, 2, 3]), st.integers(0, 9))
def test_union_over_ranks_is_the_batch_of_one_process(count: int, each: int, world: int, seed: int) -> None:
    batch = each * world
    if count < batch and count % world:
        with pytest.raises(SettingsError, match="divisible"):
            loader(count, batch, seed, 0, world)
        return
    alone = list(loader(count, batch, seed))
    assert len(alone) == max(count // batch, 1)
    ranks = [list(loader(count, batch, seed, rank, world)) for rank in range(world)]
    joined = [tuple(torch.cat(parts) for parts in zip(*step, strict=True)) for step in zip(*ranks, strict=True)]
    assert same(joined, alone)


def test_batch_that_ranks_cannot_share_is_refused(ready: Ready) -> None:
    with pytest.raises(SettingsError, match=r"data.batch_size = 100.*\n.*data.batch_size=99"):
        ready(name="digits", batch_size=100, world_size=3)


def test_global_generator_is_neither_used_nor_moved(ready: Ready) -> None:
    torch.manual_seed(1)
    first = list(ready(name="digits", **AUGMENTED).train_dataloader())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(list(ready(name="digits", **AUGMENTED).train_dataloader()), first)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(0, 3), st.booleans(), st.integers(0, 99))
def test_augmentation_is_a_mirrored_window_of_the_padded_image(count: int, padding: int, flip: bool, seed: int) -> None:
    images = torch.randint(1, 256, (count, 2, 5, 5)).to(torch.uint8)
    draws = draw(count, flip=flip, padding=padding, key=(seed, 0, 0))
    made = augment(images, draws, padding, slice(0, count))
    for image, mirrored, (top, left), result in zip(images, draws.flips, draws.corners.tolist(), made, strict=True):
        padded = torch.zeros(2, 5 + 2 * padding, 5 + 2 * padding, dtype=torch.uint8)
        padded[:, padding : padding + 5, padding : padding + 5] = image.flip(-1) if mirrored else image
        assert torch.equal(result, padded[:, top : top + 5, left : left + 5])


def test_draws_reach_every_corner_and_both_sides() -> None:
    draws: Draws = draw(4000, flip=True, padding=2, key=(0, 0, 0))
    corners = torch.unique(draws.corners, dim=0)
    assert corners.min() == 0 and corners.max() == 4 and len(corners) == 25
    assert 0.45 < draws.flips.float().mean() < 0.55
    assert not draw(100, flip=False, padding=2, key=(0, 0, 0)).flips.any()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_shows_every_image_once_over_all_ranks(ready: Ready, world: int) -> None:
    parts = [ready(name="digits", batch_size=6, rank=rank, world_size=world) for rank in range(world)]
    rows = [part.val_dataloader().indices for part in parts]  # type: ignore[union-attr]
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    images = [image for part in parts for batch, _ in part.val_dataloader() for image in batch]
    one = [image for batch, _ in ready(name="digits").val_dataloader() for image in batch]
    assert sorted(image.flatten().tolist() for image in images) == sorted(image.flatten().tolist() for image in one)


def test_empty_share_of_an_evaluation_has_no_batches() -> None:
    part = MemoryPart(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    empty = MemoryEvalLoader(part, torch.arange(1)[1::2], 4, Normalise((0.0,), (1.0,)))
    assert len(empty) == 0 and list(empty) == []


def test_start_outside_the_epoch_is_refused() -> None:
    train = loader(40, 8)
    with pytest.raises(ValueError, match=r"`step` is 6, but must be in 0..5"):
        train.start_at(6)


def test_images_of_a_wrong_type_are_refused() -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        MemoryPart(torch.zeros(2, 1, 4, 4), torch.zeros(2))
