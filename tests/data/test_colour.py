"""`data.channels`: grey and colour images in one data set."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ternlab.core.errors import SettingsError
from ternlab.data.colour import grey, with_channels
from ternlab.data.fingerprint import known_shape
from ternlab.data.module import ImageDataModule
from ternlab.data.settings import DataSettings
from ternlab.data.source import IMAGENET_MEAN, IMAGENET_STD, DataSource, MemoryPart
from tests.data.made_images import encoded, write_folder

Ready = Callable[..., ImageDataModule]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder of 120 grey training images, but for one that is not among those looked at first."""
    root = write_folder(tmp_path / "set", {"train": 60, "test": 2})
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.write_bytes(encoded(number, mode="L"))
    (root / "train" / "cat" / "002.png").write_bytes(encoded(1000))
    return root


@pytest.mark.parametrize("storage", ["memory", "stream"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_that_mixes_is_read_in_the_mode_that_is_asked_for(
    ready: Ready, mixed: Path, storage: str, channels: int
) -> None:
    own = {"mean": [0.0] * channels, "std": [1.0] * channels, "storage": storage, "workers": 0}
    data = ready(name="image_folder", root=str(mixed), channels=channels, val_fraction=0.0, batch_size=120, **own)
    assert (data.channels, data.preprocessing()["channels"], data.skipped) == (channels, channels, 0)
    images, _ = next(iter(data.train_dataloader()))
    pixels = images.mul(255).round().to(torch.uint8)
    picture = Image.open(io.BytesIO(encoded(1000))).convert("L" if channels == 1 else "RGB")
    expected = np.asarray(picture).reshape(8, 8, channels).transpose(2, 0, 1)
    assert sum(bool((image.numpy() == expected).all()) for image in pixels) == 1
    # The others have the same grey in every channel.
    assert sum(bool((image == image[:1]).all()) for image in pixels) == (120 if channels == 1 else 119)


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_without_the_setting_the_message_names_it(ready: Ready, mixed: Path, storage: str) -> None:
    own = {"storage": storage, "workers": 0, "val_fraction": 0.0}
    refused = r"cat/002.png.*its mode is RGB.*data.channels=3 reads all of them as colour"
    with pytest.raises(SettingsError, match=refused):
        list(ready(name="image_folder", root=str(mixed), **own).train_dataloader())


def test_grey_is_that_of_pillow() -> None:
    levels = np.array([0, 1, 2, 63, 127, 128, 200, 254, 255], dtype=np.uint8)
    picture = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    expected = np.asarray(Image.fromarray(picture).convert("L"))
    assert grey(torch.from_numpy(picture).permute(2, 0, 1)[None])[0, 0].tolist() == expected.tolist()


def test_known_data_sets_are_converted_with_their_statistics(ready: Ready) -> None:
    own, colour = ready(name="digits"), ready(name="digits", channels=3)
    assert (colour.mean, colour.std) == (own.mean * 3, own.std * 3)
    grey_images, colour_images = (next(iter(data.test_dataloader()))[0] for data in (own, colour))
    assert colour_images.shape[1] == 3
    assert torch.equal(colour_images, grey_images.expand(-1, 3, -1, -1))
    assert known_shape(DataSettings(name="digits", channels=3)) == (3, 8, 10)
    assert ready(name="digits", channels=1).mean == own.mean


def test_statistics_of_colour_are_not_those_of_the_grey_images() -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=draws)
    part = MemoryPart(images, torch.zeros(4, dtype=torch.int64))
    source = with_channels(DataSource(part, part, ("a",), 3, 8, IMAGENET_MEAN, IMAGENET_STD), 1)
    assert source.channels == 1 and source.mean is None and source.std is None
    assert isinstance(source.train, MemoryPart) and source.train.images.shape == (4, 1, 8, 8)


def test_streamed_grey_images_have_one_mean(ready: Ready, mixed: Path) -> None:
    for name in ("image_folder", "imagenet"):
        data = ready(name=name, root=str(mixed), channels=1, storage="stream", workers=0, image_size=8)
        assert data.mean == pytest.approx((sum(IMAGENET_MEAN) / 3,))
        assert next(iter(data.test_dataloader()))[0].shape == (4, 1, 8, 8)
