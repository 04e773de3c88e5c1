"""Folders of image files, ImageNet's among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.data.fingerprint import _tree_hash, check_data, data_fingerprint
from ternlab.data.layout import image_files
from ternlab.data.module import ImageDataModule
from ternlab.data.settings import DataSettings
from ternlab.data.source import MemoryPart
from tests.data.made_images import CORRUPT, encoded, write_folder

Ready = Callable[..., ImageDataModule]


@pytest.mark.parametrize("test_part", ["test", "val"])
def test_folders_are_classes_in_sorted_order(ready: Ready, tmp_path: Path, test_part: str) -> None:
    root = write_folder(tmp_path / "a set", {"train": 10, test_part: 3})
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "cat" / ".hidden.png").write_bytes(CORRUPT)
    data = ready(name="image_folder", root=str(root), eval_batch_size=10)
    assert isinstance(data._source.train, MemoryPart)
    assert (data.classes, data.train_count, data.val_count, data.test_count) == (("cat", "dog"), 18, 2, 6)
    assert next(iter(data.test_dataloader()))[1].tolist() == [0, 0, 0, 1, 1, 1]


def test_files_that_are_no_images_are_counted_by_their_suffix(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_folder(tmp_path / "set", {"train": 5, "test": 2})
    for name in ("cat/a.heic", "cat/b.heic", "dog/LICENSE"):
        (root / "train" / name).write_bytes(b"x")
    ready(name="image_folder", root=str(root))
    (said,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "3 files" in said and "2 .heic, 1 without a suffix" in said


def test_a_class_without_a_training_image_is_refused_before_any_is_read(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 2, "test": 2})
    for part in ("train", "test"):
        (root / part / "cow").mkdir()
    with pytest.raises(SettingsError, match=r"train/cow: is a class without a training image"):
        check_data(DataSettings(name="image_folder", root=str(root)), tmp_path)
    (root / "train" / "cow" / "0.png").write_bytes(encoded(0))
    check_data(DataSettings(name="image_folder", root=str(root)), tmp_path)


def test_classes_without_a_test_image_are_counted(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_folder(tmp_path / "set", {"train": 5, "test": 2})
    for path in (root / "test" / "dog").iterdir():
        path.unlink()
    ready(name="image_folder", root=str(root))
    assert "1 of 2 classes (dog) has no test image" in caplog.text


def test_links_that_lead_back_are_not_followed_and_others_are(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", {"train": 2})
    for name in ("first", "second"):
        (folder / "train" / "cat" / name).symlink_to(".")
    (folder / "train" / "cat" / "up").symlink_to(folder)
    (folder / "train" / "cat" / "dogs").symlink_to(folder / "train" / "dog")
    found = list(image_files(folder / "train" / "cat"))
    assert found == [
        "000.png",
        "001.png",
        "dogs/000.png",
        "dogs/001.png",
        "up/train/dog/000.png",
        "up/train/dog/001.png",
    ]


def test_a_folder_that_cannot_be_read_is_refused_but_not_beside_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "set", {"train": 2, "test": 1})
    settings = DataSettings(name="image_folder", root=str(root))
    before = data_fingerprint(settings)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if "lost" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # chmod does not stop root, who runs the tests in containers
    (root / "lost+found").mkdir()
    check_data(settings, tmp_path)
    _tree_hash.cache_clear()
    assert data_fingerprint(settings) == before
    (root / "train" / "cat" / "lost").mkdir()
    with pytest.raises(SettingsError, match=r"train/cat/lost: cannot be read \(Permission denied\)"):
        list(image_files(root / "train" / "cat"))


def test_large_images_are_decoded_by_threads_to_the_same_pixels(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ternlab.data import encoded as module

    root = str(write_folder(tmp_path / "set", {"train": 10, "test": 3}, size=(30, 24)))
    one = ready(name="image_folder", root=root, image_size=16)._source.train
    monkeypatch.setattr(module, "_LARGE", 1)
    many = ready(name="image_folder", root=root, image_size=16)._source.train
    assert one.images.tolist() == many.images.tolist()  # type: ignore[union-attr]


def test_corrupt_file_stops_with_its_path_or_is_left_out(ready: Ready, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 5, "test": 2})
    (root / "test" / "dog" / "000.png").write_bytes(CORRUPT)
    with pytest.raises(SettingsError, match=r"test/dog/000.png: is not a readable image"):
        ready(name="image_folder", root=str(root))
    with pytest.warns(UserWarning, match="000.png"):
        data = ready(name="image_folder", root=str(root), on_error="skip")
    assert (data.skipped, data.test_count) == (1, 3)


@pytest.mark.parametrize(("name", "channels"), [("001.png", 3), ("002.png", None)])
def test_colour_among_grey_images(ready: Ready, tmp_path: Path, name: str, channels: int | None) -> None:
    """Of 120 images, rows 0, 1, 3, 5, ... are looked at to decide on the channels; row 2 is not."""
    root = write_folder(tmp_path / "set", {"train": 60, "test": 2})
    for path in root.rglob("*.png"):
        path.write_bytes(encoded(0, mode="L"))
    (root / "train" / "cat" / name).write_bytes(encoded(0))
    if channels:
        assert ready(name="image_folder", root=str(root)).channels == channels
        return
    with pytest.raises(SettingsError, match=r"002.png.*mode is RGB, but the other images are grey"):
        ready(name="image_folder", root=str(root))


def test_classes_that_differ_are_named(ready: Ready, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 2, "test": 2})
    (root / "test" / "dog").rename(root / "test" / "dogs")
    with pytest.raises(SettingsError, match=r"dog \(only in train/\), dogs \(only in test/\)"):
        ready(name="image_folder", root=str(root))


def test_missing_part_and_missing_images_are_named(ready: Ready, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 2, "test": 2})
    for path in (root / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(SettingsError, match=r"set/test: no images found"):
        ready(name="image_folder", root=str(root))
    shutil.rmtree(root / "test")
    with pytest.raises(SettingsError, match="test/ is missing"):
        ready(name="image_folder", root=str(root))


def test_imagenet_streams_224_pixels_and_keeps_val_for_testing(ready: Ready, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "imagenet", {"train": 4, "val": 2}, size=(300, 260), kind="JPEG")
    data = ready(name="imagenet", root=str(root), val_fraction=0.0, batch_size=4, workers=0, random_resized_crop=True)
    assert next(iter(data.train_dataloader()))[0].shape == (4, 3, 224, 224)
    assert next(iter(data.test_dataloader()))[0].shape == (4, 3, 224, 224)
    assert data.preprocessing() == {
        "channels": 3, "size": 224, "resize": 256, "interpolation": "bilinear, antialiased", "crop": 224,
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip
