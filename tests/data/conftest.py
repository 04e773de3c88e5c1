"""Fixtures that several tests of the data share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ternlab.data.module import ImageDataModule, build_data
from ternlab.data.settings import DataSettings
from tests.data.made_images import encoded, write_parquet


@pytest.fixture
def parquet_root(tmp_path: Path) -> Path:
    """Return a folder with 40 training and 10 test images of 8x8 pixels in two classes."""
    root = tmp_path / "set"
    for part, count in (("train", 40), ("test", 10)):
        images = [encoded(len(part) * 1000 + number) for number in range(count)]
        write_parquet(root / f"{part}.parquet", images, [number % 2 for number in range(count)])
    return root


@pytest.fixture
def ready(tmp_path: Path) -> Callable[..., ImageDataModule]:
    """Return a function that builds a data module from settings and sets it up."""

    def make(seed: int = 0, rank: int = 0, world_size: int = 1, **settings: Any) -> ImageDataModule:
        module = build_data(
            DataSettings(**settings), data_dir=tmp_path / "data", seed=seed, rank=rank, world_size=world_size
        )
        module.prepare_data()
        module.setup()
        return module

    return make
