"""Streamed images: worker processes, ranks, resuming, corrupt files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ternlab.core.errors import SettingsError
from ternlab.core.rng import generator
from ternlab.data.decode import fit_square
from ternlab.data.loaders import Batch
from ternlab.data.module import ImageDataModule
from ternlab.data.transforms import TrainView, crop_box
from tests.data.made_images import CORRUPT, write_folder

Ready = Callable[..., ImageDataModule]


@pytest.fixture
def streamed(ready: Ready, tmp_path: Path) -> Ready:
    """Return a function that builds streamed data over 24 training and 10 test images of 20x14 pixels."""
    root = write_folder(tmp_path / "set", {"train": 12, "test": 5}, size=(20, 14), kind="JPEG")
    common = {"name": "image_folder", "root": str(root), "storage": "stream", "image_size": 8, "batch_size": 4}
    common |= {"val_fraction": 0.0, "flip": True, "random_resized_crop": True, "workers": 0}
    return lambda seed=0, rank=0, world_size=1, **more: ready(seed, rank, world_size, **(common | more))


def same(first: list[Batch], second: list[Batch]) -> bool:
    """Compare two runs of batches bit for bit."""
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_shapes_counts_and_preprocessing(streamed: Ready) -> None:
    data = streamed()
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 8, 8) and images.dtype == torch.float32 and labels.dtype == torch.int64
    assert (data.train_count, data.test_count, data.steps_per_epoch, data.classes) == (24, 10, 6, ("cat", "dog"))
    assert data.preprocessing()["resize"] == 9 and data.preprocessing()["crop"] == 8
    assert data.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_changes_nothing(streamed: Ready, workers: int) -> None:
    alone, many = streamed(), streamed(workers=workers)
    for loader in (alone.train_dataloader(), many.train_dataloader()):
        loader.sampler.set_epoch(2)
    assert same(list(alone.train_dataloader()), list(many.train_dataloader()))
    assert same(list(alone.test_dataloader()), list(many.test_dataloader()))


@pytest.mark.parametrize("start", range(7))
def test_resuming_at_any_step_equals_the_uninterrupted_epoch(streamed: Ready, start: int) -> None:
    train, resumed = streamed().train_dataloader(), streamed().train_dataloader()
    resumed.start_at(start)
    assert same(list(resumed), list(train)[start:])


@pytest.mark.parametrize("world", [2, 4])
def test_union_over_ranks_is_the_batch_of_one_process(streamed: Ready, world: int) -> None:
    alone = list(streamed().train_dataloader())
    ranks = [list(streamed(rank=rank, world_size=world).train_dataloader()) for rank in range(world)]
    joined = [tuple(torch.cat(parts) for parts in zip(*step, strict=True)) for step in zip(*ranks, strict=True)]
    assert same(joined, alone)


def test_epochs_and_seeds_give_other_crops_and_order(streamed: Ready) -> None:
    first = list(streamed().train_dataloader())
    later = streamed().train_dataloader()
    later.sampler.set_epoch(1)
    assert not same(list(later), first) and not same(list(streamed(seed=1).train_dataloader()), first)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_generator_is_neither_used_nor_moved(streamed: Ready, workers: int) -> None:
    torch.manual_seed(1)
    first = list(streamed(workers=workers).train_dataloader())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(list(streamed(workers=workers).train_dataloader()), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_and_stream_agree_on_the_test_images(streamed: Ready) -> None:
    plain = {"random_resized_crop": False, "resize": 8}
    held, read = streamed(storage="memory", **plain), streamed(**plain)
    images = [next(iter(data.test_dataloader()))[0] for data in (held, read)]
    back = [
        image * torch.tensor(data.std)[:, None, None] + torch.tensor(data.mean)[:, None, None]
        for image, data in zip(images, (held, read), strict=True)
    ]
    assert torch.allclose(*back, atol=1e-5)


def _spoil(data_root: Path, *names: str) -> None:
    for name in names:
        (data_root / name).write_bytes(CORRUPT)


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_image_stops_training_with_its_name(streamed: Ready, tmp_path: Path, workers: int) -> None:
    _spoil(tmp_path / "set", "train/dog/003.jpeg")
    with pytest.raises(SettingsError, match=r"train/dog/003.jpeg: is not a readable image"):
        list(streamed(workers=workers).train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_are_replaced_and_counted_once(streamed: Ready, tmp_path: Path, workers: int) -> None:
    whole = list(streamed().train_dataloader())
    _spoil(tmp_path / "set", "train/dog/003.jpeg", "train/dog/004.jpeg", "test/cat/001.jpeg")
    data = streamed(workers=workers, on_error="skip")
    with pytest.warns(UserWarning, match="1 corrupt image"):
        left = list(data.train_dataloader())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # warned once only
        assert same(left, list(data.train_dataloader()))
        shown = sum(len(labels) for _, labels in data.test_dataloader())
    assert data.skipped == 3
    assert [len(labels) for _, labels in left] == [4] * 6
    differing = sum(
        not torch.equal(a, b) for (x, _), (y, _) in zip(whole, left, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert differing == 2, "only the places of the corrupt images change"
    assert shown == 9, "evaluation repeats no image"


def test_replacement_is_the_next_readable_image(streamed: Ready, tmp_path: Path) -> None:
    plain = {"random_resized_crop": False, "flip": False, "batch_size": 1}
    loader = streamed(**plain).train_dataloader()
    order = loader.indices.tolist()
    whole = dict(zip(loader.rows(0).flatten().tolist(), loader, strict=True))
    for row in order[5:7]:
        _spoil(tmp_path / "set", f"train/{('cat', 'dog')[row // 12]}/{row % 12:03d}.jpeg")
    with pytest.warns(UserWarning, match="corrupt"):
        batches = list(streamed(on_error="skip", **plain).train_dataloader())
    left = dict(zip(loader.rows(0).flatten().tolist(), batches, strict=True))
    for place in (5, 6):
        assert same([left[place]], [whole[7]])


def test_evaluation_batch_without_a_readable_image_is_left_out(streamed: Ready, tmp_path: Path) -> None:
    _spoil(tmp_path / "set", *(f"test/cat/00{number}.jpeg" for number in range(5)))
    data = streamed(on_error="skip", eval_batch_size=5)
    with pytest.warns(UserWarning, match="corrupt"):
        assert [labels.tolist() for _, labels in data.test_dataloader()] == [[1] * 5]


@settings(max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 10**6))
def test_crop_boxes_lie_inside_the_image_with_the_allowed_shape(height: int, width: int, seed: int) -> None:
    top, left, tall, wide = crop_box(height, width, generator(seed))
    assert 0 <= top <= height - tall and 0 <= left <= width - wide and tall > 0 and wide > 0
    if min(height, width) > 60 and max(height, width) < 1.3 * min(height, width):
        assert 0.07 < tall * wide / (height * width) <= 1.001
        assert 0.7 < wide / tall < 1.4


def test_crop_boxes_cover_small_and_large_areas() -> None:
    shares = [math.prod(crop_box(100, 100, generator(seed))[2:]) / 10_000 for seed in range(400)]
    assert min(shares) < 0.15 and max(shares) > 0.85
    assert 0.4 < sum(shares) / len(shares) < 0.6


def test_crops_differ_from_image_to_image_within_an_epoch() -> None:
    image = Image.frombytes("L", (32, 32), bytes(n % 251 for n in range(1024)))
    view = TrainView(8, 8, 0, random_crop=True, flip=False)
    assert len({view(image, (0, place)).tobytes() for place in range(50)}) > 45
    assert len({view(image, (epoch, 0)).tobytes() for epoch in range(50)}) > 45


def test_views_mirror_half_of_the_images_and_only_when_asked() -> None:
    image = Image.new("L", (8, 8))
    image.putpixel((0, 0), 255)
    for flip, expected in ((True, (60, 140)), (False, (0, 0))):
        view = TrainView(8, 8, 0, random_crop=False, flip=flip)
        mirrored = sum(view(image, (0, place)).getpixel((7, 0)) == 255 for place in range(200))
        assert expected[0] <= mirrored <= expected[1]


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_centre_crop_is_square_for_any_image(width: int, height: int, size: int, more: int) -> None:
    assert fit_square(Image.new("RGB", (width, height)), size + more, size).size == (size, size)


def test_centre_crop_takes_the_centre() -> None:
    image = Image.new("L", (12, 4))
    image.paste(255, (4, 0, 8, 4))
    assert fit_square(image, 4, 4).getextrema() == (255, 255)
