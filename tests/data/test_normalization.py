"""Mean, standard deviation and class names that the user gives."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ternlab.core.check import checked
from ternlab.core.errors import SettingsError
from ternlab.data.fingerprint import check_data
from ternlab.data.module import ImageDataModule
from ternlab.data.settings import DataSettings
from tests.data.made_images import encoded, write_folder, write_parquet

Ready = Callable[..., ImageDataModule]
MEAN, STD = (0.2, 0.4, 0.6), (0.1, 0.5, 1.0)


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_images_are_normalized_with_the_given_values(ready: Ready, parquet_root: Path, storage: str) -> None:
    data = ready(
        name="parquet", root=str(parquet_root), mean=MEAN, std=STD, storage=storage, workers=0, eval_batch_size=10
    )
    images, _ = next(iter(data.test_dataloader()))
    pixels = np.stack([np.array(Image.open(io.BytesIO(encoded(4000 + n))), dtype=np.float64) for n in range(10)])
    expected = ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    assert np.abs(images.numpy() - expected).max() < 1e-5
    assert (data.preprocessing()["mean"], data.preprocessing()["std"]) == (list(MEAN), list(STD))
    # The validation images and the images of a training step are normalized with them as well.
    for loader in (data.train_dataloader(), data.val_dataloader()):
        levels = next(iter(loader))[0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
        assert float((levels * 255 - (levels * 255).round()).abs().max()) < 1e-3
        assert 0 <= float(levels.min()) < 0.02 and 0.98 < float(levels.max()) < 1.001


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("digits", {"mean": [0.5]}, "data.std = null: must be given with data.mean"),
        ("parquet", {"std": [0.5] * 3}, "data.mean = null: must be given with data.std"),
        (
            "digits",
            {"mean": [0.5] * 3, "std": [0.5] * 3},
            "one value for each channel of the images, which are grey (1)",
        ),
        ("cifar10", {"mean": [0.5], "std": [0.5]}, "one value for each channel of the images, which are colour (3)"),
        ("imagenet", {"mean": [0.5], "std": [0.5]}, "which are colour (3)"),
        ("parquet", {"mean": [0.5] * 3, "std": [0.5]}, "data.std = [0.5]: must have one value for each channel"),
        ("parquet", {"mean": [0.5] * 2, "std": [0.5] * 2}, "grey (1) or colour (3)"),
        ("digits", {"class_names": ["a", "b"]}, "data.class_names: has 2 names, but digits has 10 classes"),
    ],
)
def test_values_that_do_not_fit_are_refused_before_files_are_read(
    name: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        check_data(DataSettings(name=name, root="nowhere", **values), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"std": [0.5, 0.0, 0.5]}, "data.std.1 = 0.0: must be greater than 0"),
        ({"mean": [-0.1]}, "data.mean.0 = -0.1: must be greater than or equal to 0"),
        (
            {"mean": [125.3, 123.0, 113.9], "std": [63.0, 62.1, 66.7]},
            "divided by 255\n  instead: 'data.mean=[0.4914,0.4824,0.4467]' 'data.std=[0.2471,0.2435,0.2616]'",
        ),
        ({"mean": [float("nan")]}, "finite"),
        ({"mean": 0.5}, "data.mean = 0.5"),
        ({"class_names": ["a", "b", "a"]}, "'a' is there 2 times"),
        ({"class_names": ["a", ""]}, "one name is empty"),
        ({"class_names": "/no/such/file"}, "a text file with one name on each line (No such file or directory)"),
    ],
)
def test_values_that_cannot_be_right_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        checked(DataSettings, values, prefix="data")


def test_the_values_are_compared_with_the_channels_that_were_found(ready: Ready, parquet_root: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"data.mean = \[0.5\]: must have one value.*\n.*data.mean=\[0.5,0.5,0.5\] data"
    ):
        ready(name="parquet", root=str(parquet_root), mean=[0.5], std=[0.5])


def test_classes_without_names_are_named_by_a_list_or_a_file(ready: Ready, parquet_root: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("red fox\nhen \n\n")
    for given in (["red fox", "hen"], str(file)):
        data = ready(name="parquet", root=str(parquet_root), class_names=given)
        assert data.classes == ("red fox", "hen")
    settings = DataSettings(name="parquet", root=str(parquet_root), class_names=str(file))
    assert settings.class_names == ("red fox", "hen")  # so that the file may be moved


def test_more_names_than_labels_are_classes_and_fewer_are_refused(ready: Ready, parquet_root: Path) -> None:
    assert ready(name="parquet", root=str(parquet_root), class_names=["a", "b", "c"]).classes == ("a", "b", "c")
    with pytest.raises(
        SettingsError, match=r"label 1 is out of range 0..0, the classes in data.class_names \(20 of 40"
    ):
        ready(name="parquet", root=str(parquet_root), class_names=["a"])


def test_names_of_files_are_replaced_but_not_reordered(ready: Ready, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 5, "test": 2})
    assert ready(name="image_folder", root=str(root), class_names=["Katze", "dog"]).classes == ("Katze", "dog")
    with pytest.raises(SettingsError, match=r"'dog' is at place 0, but in the data it is class 1"):
        ready(name="image_folder", root=str(root), class_names=["dog", "cat"])
    with pytest.raises(SettingsError, match=r"has 3 names for 2 classes \(cat, dog\)"):
        ready(name="image_folder", root=str(root), class_names=["a", "b", "c"])
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", [encoded(1)] * 4, [0, 1] * 2, names=("cat", "dog"))
    assert ready(name="parquet", root=str(tmp_path), val_fraction=0.0, class_names=["x", "y"]).classes == ("x", "y")
