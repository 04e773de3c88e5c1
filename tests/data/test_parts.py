"""Which part of a data set becomes the test set, and what is said about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.data.fingerprint import check_data
from ternlab.data.module import ImageDataModule
from ternlab.data.settings import DataSettings
from tests.data.made_images import encoded, write_folder, write_parquet

Ready = Callable[..., ImageDataModule]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return a function that returns the only line about the test images, and forgets it."""
    caplog.set_level(logging.INFO)

    def line() -> str:
        (found,) = [record.getMessage() for record in caplog.records if "test images: " in record.getMessage()]
        caplog.clear()
        return found

    return line


def write_unlabelled(folder: Path, count: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"test_{number}.png").write_bytes(encoded(900 + number))


def write_annotated(part: Path, classes: list[str]) -> None:
    """Write images as the validation part of Tiny-ImageNet has them: one folder, and a file of labels beside it."""
    (part / "images").mkdir(parents=True)
    for number in range(len(classes)):
        (part / "images" / f"val_{number}.png").write_bytes(encoded(700 + number))
    lines = [f"val_{number}.png\t{name}\t0\t1\t2\t3" for number, name in enumerate(classes)]
    (part / f"{part.name}_annotations.txt").write_text("\n".join(reversed(lines)) + "\n")


@pytest.mark.parametrize(
    ("parts", "test_part", "taken", "line"),
    [
        ({"test": 3}, "auto", 3, "test images: test/"),
        ({"val": 3}, "auto", 3, "test images: val/; there is no test/; validation images are held out from the"),
        ({"validation": 3}, "auto", 3, "test images: validation/; there is no test/"),
        ({"test": 3, "val": 2}, "auto", 3, "test images: test/; val/ is not used"),
        ({"test": 3, "val": 2}, "val", 2, "test images: val/, by data.test_part"),
        ({"val": 2, "validation": 3}, "auto", 2, "test images: val/"),
        ({"test": 3, "holdout": 2}, "holdout", 2, "test images: holdout/, by data.test_part"),
    ],
)
def test_a_folder_becomes_the_test_set_and_one_line_says_so(
    ready: Ready, tmp_path: Path, said: Callable[[], str], parts: dict[str, int], test_part: str, taken: int, line: str
) -> None:
    root = write_folder(tmp_path / "set", {"train": 5, **parts})
    data = ready(name="image_folder", root=str(root), test_part=test_part)
    assert data.test_count == 2 * taken and data.classes == ("cat", "dog")
    assert said().startswith(line)


@pytest.mark.parametrize(
    ("below", "why"), [("", "has no class folders"), ("images", "none of its folders is named as a class of train/")]
)
def test_a_folder_without_labels_is_passed_over(
    ready: Ready, tmp_path: Path, said: Callable[[], str], below: str, why: str
) -> None:
    root = write_folder(tmp_path / "set", {"train": 5, "val": 2})
    write_unlabelled(root / "test" / below)
    check_data(DataSettings(name="image_folder", root=str(root)), tmp_path)
    assert ready(name="image_folder", root=str(root)).test_count == 4
    assert f"test/ is passed over, {'it ' if not below else ''}{why}" in said()
    with pytest.raises(SettingsError, match=r"test/ has no class folders|the class folders of train/ and test/ differ"):
        ready(name="image_folder", root=str(root), test_part="test")


def test_tiny_imagenet_as_downloaded_gives_what_class_folders_give(
    ready: Ready, tmp_path: Path, said: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    root = write_folder(tmp_path / "tiny", {"train": 5})
    for name in ("cat", "dog"):
        folder = root / "train" / name
        (folder / "images").mkdir()
        for path in folder.glob("*.png"):
            path.rename(folder / "images" / path.name)
        (folder / f"{name}_boxes.txt").write_text("x")
    write_annotated(root / "val", ["dog", "cat", "cat", "dog", "dog"])
    write_unlabelled(root / "test" / "images")
    check_data(DataSettings(name="image_folder", root=str(root)), tmp_path)
    data = ready(name="image_folder", root=str(root))
    assert "train: 2 files are not images by their suffix and are left out (2 .txt)" in caplog.text
    line = said()
    assert line.startswith("test images: val/; test/ is passed over")
    for number, name in enumerate(["dog", "cat", "cat", "dog", "dog"]):
        folder = tmp_path / "sorted" / "val" / name
        folder.mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / f"val_{number}.png").rename(folder / f"val_{number}.png")
    (root / "train").rename(tmp_path / "sorted" / "train")
    again = ready(name="image_folder", root=str(tmp_path / "sorted"))
    assert data._source.test.labels.tolist() == again._source.test.labels.tolist() == [0, 0, 1, 1, 1]
    assert data._source.test.images.tolist() == again._source.test.images.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("cat", "cow"), "line 1 names the class 'cow', for which train/ has no folder"),
        (lambda text: text.replace("\t", " "), "line 1 is not a file name, a tab and a class"),
        (lambda text: text + text, "line 3 names val_1.png again"),
        (lambda text: text + "val_9.png\tcat\n", "line 3 names val_9.png, which is not in"),
    ],
)
def test_annotations_that_do_not_fit_the_images_are_refused(
    ready: Ready, tmp_path: Path, spoil: Callable[[str], str], message: str
) -> None:
    root = write_folder(tmp_path / "tiny", {"train": 5})
    write_annotated(root / "val", ["dog", "cat"])
    file = root / "val" / "val_annotations.txt"
    file.write_text(spoil(file.read_text()))
    with pytest.raises(SettingsError, match=rf"val_annotations\.txt: {message}"):
        ready(name="image_folder", root=str(root))


def test_images_that_the_annotations_leave_out_are_counted(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_folder(tmp_path / "tiny", {"train": 5})
    write_annotated(root / "val", ["dog", "cat"])
    write_unlabelled(root / "val" / "images", 3)
    assert ready(name="image_folder", root=str(root)).test_count == 2
    assert "3 images are not in val_annotations.txt and are left out" in caplog.text


@pytest.mark.parametrize("labels", [[-1, -1, -1], [None, None, None], None])
def test_parquet_without_labels_is_passed_over(
    ready: Ready, tmp_path: Path, said: Callable[[], str], labels: list[Any] | None
) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [encoded(1)] * 4, [0, 1, 0, 1])
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", [encoded(2)] * 2, [0, 1])
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    write_parquet(path, [encoded(3)] * 3, labels or [0, 0, 0])
    if labels is None:
        import pyarrow.parquet as pq

        pq.write_table(pq.read_table(path).drop_columns(["label"]), path)
    data = ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    assert data._source.test.labels.tolist() == [0, 1]
    line = said()
    assert line.startswith("test images: validation*.parquet; test*.parquet is passed over, ")
    assert ("it has no column label" if labels is None else "none of its 3 rows has a label") in line


def test_parquet_part_that_is_asked_for_is_used_or_refused(
    ready: Ready, tmp_path: Path, said: Callable[[], str]
) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 4, [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", [encoded(3)] * 3, [0, -1, -1])
    write_parquet(tmp_path / "valid.parquet", [encoded(2)] * 2, [0, 1])
    write_parquet(tmp_path / "holdout-0.parquet", [encoded(2)], [1])
    for part, count in (("valid", 2), ("holdout", 1)):
        assert ready(name="parquet", root=str(tmp_path), test_part=part, val_fraction=0.0).test_count == count
        assert said() == f"test images: {part}*.parquet, by data.test_part"
    for part in ("auto", "test"):  # labels of some rows are a mistake, and not a part that has none
        with pytest.raises(
            SettingsError, match=r"label -1 is out of range 0..1.*\(2 of 3 rows are\)\n.*data.test_part="
        ):
            ready(name="parquet", root=str(tmp_path), test_part=part)
    with pytest.raises(
        SettingsError, match=r"data.test_part = val: .*has no val.parquet.*\n.*=test or data.test_part=v"
    ):
        check_data(DataSettings(name="parquet", root=str(tmp_path), test_part="val"), tmp_path)


def test_an_incomplete_part_that_is_not_used_does_no_harm(ready: Ready, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 4, [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", [encoded(3)] * 3, [0, 1, 1])
    write_parquet(tmp_path / "validation-00001-of-00002.parquet", [encoded(3)], [0])
    assert ready(name="parquet", root=str(tmp_path), val_fraction=0.0).test_count == 3


def test_a_part_that_cannot_be_the_test_set_is_refused_at_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 2, "test": 2, "val": 1})
    with pytest.raises(SettingsError, match=r"data.test_part = tset: .*\n.*data.test_part=test or data.test_part=val"):
        check_data(DataSettings(name="image_folder", root=str(root), test_part="tset"), tmp_path)
    with pytest.raises(SettingsError, match=r"data.test_part = val: data=cifar10 has only one test part"):
        check_data(DataSettings(name="cifar10", test_part="val"), tmp_path)
    with pytest.raises(ValueError, match="not tested on its training images"):
        DataSettings(name="image_folder", root=str(root), test_part="train")


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_folder_of_another_layout_is_shown_the_layout(tmp_path: Path, missing: str) -> None:
    root = write_folder(tmp_path / "set", {"train": 2, "test": 2})
    (root / missing).rename(root / "pictures")
    with pytest.raises(SettingsError) as caught:
        check_data(DataSettings(name="image_folder", root=str(root)), tmp_path)
    text = str(caught.value)
    assert f"{missing}/ is missing" in text
    assert f"{root}/train/<class>/*.jpg" in text and f"{root}/test/<class>/*.jpg" in text
