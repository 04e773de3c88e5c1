"""Parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ternlab.core.errors import SettingsError
from ternlab.data.module import ImageDataModule
from ternlab.data.parquet_parts import parquet_parts
from tests.data.made_images import CORRUPT, encoded, write_parquet

Ready = Callable[..., ImageDataModule]


def test_pixels_and_labels_are_those_written(ready: Ready, parquet_root: Path) -> None:
    data = ready(name="parquet", root=str(parquet_root))
    images, labels = next(iter(data.test_dataloader()))
    assert labels.tolist() == [0, 1] * 5
    expected = np.array(Image.open(io.BytesIO(encoded(4003))))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    assert (images[3] * std + mean).mul(255).round().permute(1, 2, 0).tolist() == expected.tolist()
    assert (data.channels, data.size, data.classes, data.skipped) == (3, 8, ("0", "1"), 0)
    assert (data.train_count, data.val_count, data.test_count) == (36, 4, 10)


def test_statistics_come_from_the_training_images_alone(ready: Ready, parquet_root: Path) -> None:
    data = ready(name="parquet", root=str(parquet_root), val_fraction=0.5)
    write_parquet(parquet_root / "test.parquet", [encoded(99)], [1])
    again = ready(name="parquet", root=str(parquet_root), val_fraction=0.5)
    other = ready(name="parquet", root=str(parquet_root), val_fraction=0.5, split_seed=1)
    assert (data.mean, data.std) == (again.mean, again.std) != (other.mean, other.std)


@pytest.mark.parametrize("folder", [".", "data"])
def test_shards_are_read_in_order_and_validation_stands_in_for_test(ready: Ready, tmp_path: Path, folder: str) -> None:
    where = tmp_path / "hub" / folder
    for shard in (1, 0):
        write_parquet(where / f"train-0000{shard}-of-00002.parquet", [encoded(shard)] * 3, [shard] * 3)
    write_parquet(where / "validation-00000-of-00001.parquet", [encoded(5)] * 2, [0, 1])
    data = ready(name="parquet", root=str(tmp_path / "hub"), val_fraction=0.0, batch_size=6)
    assert data.test_count == 2
    part = data._source.train
    assert part.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_corrupt_image_of_a_later_shard_is_named_with_its_row_there(ready: Ready, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [encoded(0)] * 3, [0, 1, 0])
    write_parquet(tmp_path / "train-1.parquet", [encoded(0), CORRUPT], [0, 1])
    write_parquet(tmp_path / "test.parquet", [encoded(0)], [0])
    with pytest.raises(SettingsError, match=r"train-1.parquet, row 1: is not"):
        ready(name="parquet", root=str(tmp_path))


def test_class_names_come_from_the_schema(ready: Ready, tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", [encoded(1)] * 4, [0, 1] * 2, names=("cat", "dog", "cow"))
    assert ready(name="parquet", root=str(tmp_path), val_fraction=0.0).classes == ("cat", "dog", "cow")


def test_classes_without_images_are_counted(ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = tuple("abcdefgh")
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 8, [0, 1] * 4, names)
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 4, [0, 0, 2, 7], names)
    ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "6 of 8 classes (c, d, e, f, g, ...) have no training image; 2 of 4 test images are of these classes and will "
        "be misclassified",
        "1 of 8 classes (b) has no test image",
    ]
    caplog.clear()
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 4, [0, 1] * 2, ("a", "b"))
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 8, [0, 1] * 4, ("a", "b"))
    ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_files_that_name_the_classes_in_other_orders_give_the_same_labels(ready: Ready, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [encoded(1)] * 3, [0, 1, 2], names=("cat", "dog", "cow"))
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [encoded(1)] * 3, [0, 1, 2], names=("cow", "cat", "dog"))
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, [0, 1], names=("dog", "cow"))
    data = ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    assert data.classes == ("cat", "dog", "cow")
    assert data._source.train.labels.tolist() == [0, 1, 2, 2, 0, 1]
    assert data._source.test.labels.tolist() == [1, 2]


def test_a_class_that_the_training_part_has_not_is_refused(ready: Ready, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 2, [0, 1], names=("cat", "dog"))
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, [0, 1], names=("cat", "cow"))
    with pytest.raises(SettingsError, match=r"test\.parquet.*'cow'"):
        ready(name="parquet", root=str(tmp_path))
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, [0, 2], names=("dog", "cat"))
    with pytest.raises(SettingsError, match=r"test\.parquet, row 1"):
        ready(name="parquet", root=str(tmp_path))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train-00000-of-00003", "train-00002-of-00003"), "has 2 of 3 train files; number 1 is missing"),
        (("train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"), "of 00001 and of 00002"),
        (("train-00000-of-00002", "train-0-of-00002", "train-00001-of-00002"), "twice"),
        (("train-00000-of-00001", "train-extra"), "has train-extra.parquet beside"),
        (("train", "train-00000-of-00001"), "train.parquet and train-00000-of-00001.parquet"),
    ],
)
def test_shards_that_are_not_one_whole_set_are_refused_before_they_are_read(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in (*names, "test"):
        (tmp_path / f"{name}.parquet").touch()
    with pytest.raises(SettingsError, match=message):
        parquet_parts(tmp_path)


def test_shards_with_a_digest_in_their_names_are_a_set(tmp_path: Path) -> None:
    names = [f"train-0000{number}-of-00002-1a2b3c4d5e6f7a8b.parquet" for number in (0, 1)]
    for name in (*names, "test.parquet"):
        (tmp_path / name).touch()
    assert [path.name for path in parquet_parts(tmp_path)[0]] == names


def test_bare_binary_columns_and_grey_images_are_read(ready: Ready, tmp_path: Path) -> None:
    table = pa.table({"img": [encoded(n, mode="L") for n in range(6)], "fine": pa.array([0, 1] * 3, pa.int8())})
    for part in ("train", "test"):
        pq.write_table(table, tmp_path / f"{part}.parquet")
    columns = {"image_column": "img", "label_column": "fine"}
    data = ready(name="parquet", root=str(tmp_path), val_fraction=0.0, batch_size=6, **columns)
    assert data.channels == 1 and next(iter(data.train_dataloader()))[0].shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [([0, 7], ("a", "b"), "label 7 is out of range 0..1"), ([0, -1], (), "label -1 is out of range"),
     ([0, None], (), r"no value in row 1 \(1 of rows 0 to 1\)"), ([0.5, 1.0], (), "integers or text, but is double"),
     ([True, False], (), "but is bool"), ([[0], [1]], (), "but is list"), ([None, None], (), "but is null")],
)  # fmt: skip
def test_unusable_labels_are_refused(
    ready: Ready, tmp_path: Path, labels: list[object], names: tuple[str, ...], message: str
) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", [encoded(1)] * 2, labels, names)
    with pytest.raises(SettingsError, match=message):
        ready(name="parquet", root=str(tmp_path))


@pytest.mark.parametrize("dictionary", [False, True], ids=["text", "pandas category"])
def test_labels_that_are_text_are_class_names(ready: Ready, tmp_path: Path, dictionary: bool) -> None:
    def column(*words: str) -> pa.Array:
        return pa.array(words).dictionary_encode() if dictionary else pa.array(words)

    write_parquet(tmp_path / "train-0.parquet", [encoded(1)] * 3, column("hen", "cat", "hen"))
    write_parquet(tmp_path / "train-1.parquet", [encoded(1)] * 2, column("dog", "cat"))
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, column("dog", "hen"))
    data = ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    assert data.classes == ("cat", "dog", "hen")
    assert data._source.train.labels.tolist() == [2, 0, 2, 1, 0] and data._source.test.labels.tolist() == [1, 2]
    data = ready(name="parquet", root=str(tmp_path), val_fraction=0.0, class_names=["hen", "dog", "cat"])
    assert data._source.train.labels.tolist() == [0, 2, 0, 1, 2] and data.classes == ("hen", "dog", "cat")
    with pytest.raises(SettingsError, match=r"has the label 'cat', which is not among the 2 classes"):
        ready(name="parquet", root=str(tmp_path), val_fraction=0.0, class_names=["hen", "dog"])
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, column("dog", "cow"))
    with pytest.raises(SettingsError, match=r"test.parquet.*has the label 'cow'"):
        ready(name="parquet", root=str(tmp_path), val_fraction=0.0)


def test_numbers_beside_text_are_refused_unless_the_file_names_them(ready: Ready, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 2, ["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, [0, 1])
    with pytest.raises(SettingsError, match=r"holds numbers in .*test.parquet, but text in other files"):
        ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, [0, 1], names=("dog", "cat"))
    assert ready(name="parquet", root=str(tmp_path), val_fraction=0.0)._source.test.labels.tolist() == [1, 0]
    write_parquet(tmp_path / "train.parquet", [encoded(1)] * 2, [0, 1])
    write_parquet(tmp_path / "test.parquet", [encoded(1)] * 2, ["cat", "dog"])
    with pytest.raises(SettingsError, match=r"holds text in .*test.parquet, but numbers in other files"):
        ready(name="parquet", root=str(tmp_path), val_fraction=0.0)


def test_rows_without_an_image_file_are_refused(ready: Ready, parquet_root: Path) -> None:
    images = [{"bytes": encoded(1), "path": None}, {"bytes": None, "path": "cat/1.png"}, None]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 1]}), parquet_root / "test.parquet")
    with pytest.raises(
        SettingsError, match=r"image = .*test.parquet: has no value in row 1 \(2 of rows 0 to 2\).*alone"
    ):
        ready(name="parquet", root=str(parquet_root))


def test_test_labels_beyond_the_training_classes_are_refused(ready: Ready, parquet_root: Path) -> None:
    write_parquet(parquet_root / "test.parquet", [encoded(1)] * 3, [0, 1, 2])
    with pytest.raises(SettingsError, match=r"test.parquet, row 2.*out of range 0..1"):
        ready(name="parquet", root=str(parquet_root))


def test_missing_column_names_those_found(ready: Ready, parquet_root: Path) -> None:
    with pytest.raises(SettingsError, match=r"data.label_column = lable.*\n.*did you mean label"):
        ready(name="parquet", root=str(parquet_root), label_column="lable")


def test_file_that_is_not_parquet_is_named(ready: Ready, parquet_root: Path) -> None:
    (parquet_root / "test.parquet").write_bytes(b"hello")
    with pytest.raises(SettingsError, match=r"test.parquet: is not a readable Parquet file"):
        ready(name="parquet", root=str(parquet_root))


def test_missing_part_lists_what_was_found(ready: Ready, parquet_root: Path) -> None:
    (parquet_root / "test.parquet").rename(parquet_root / "tset.parquet")
    with pytest.raises(SettingsError, match=r"no test.parquet.*found: train.parquet, tset.parquet"):
        ready(name="parquet", root=str(parquet_root))


@pytest.mark.parametrize("wrong", [CORRUPT, encoded(1, kind="JPEG")[:-60], b""])
def test_corrupt_image_stops_with_its_row_or_is_left_out(ready: Ready, tmp_path: Path, wrong: bytes) -> None:
    images = [encoded(n) for n in range(12)]
    images[9] = wrong
    write_parquet(tmp_path / "train.parquet", images, list(range(12)))
    write_parquet(tmp_path / "test.parquet", images[:2], [0, 1])
    with pytest.raises(SettingsError, match=r"train.parquet, row 9: is not a readable image"):
        ready(name="parquet", root=str(tmp_path), val_fraction=0.0)
    with pytest.warns(UserWarning, match=r"1 corrupt image\(s\) skipped: .*row 9"):
        data = ready(name="parquet", root=str(tmp_path), val_fraction=0.0, on_error="skip", batch_size=11)
    assert data.skipped == 1 and data.train_count == 11
    _, labels = next(iter(data.train_dataloader()))
    assert sorted(labels.tolist()) == [n for n in range(12) if n != 9]


@pytest.mark.parametrize("at", [0, 2])  # row 2 is not among those looked at to decide on the size
def test_images_of_different_sizes_need_a_size(ready: Ready, tmp_path: Path, at: int) -> None:
    images = [encoded(n) for n in range(120)]
    images[at] = encoded(500, size=(20, 10))
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", images, [0, 1] * 60)
    with pytest.raises(SettingsError, match=r"8x8, 20x10.*\n.*data.image_size=8"):
        ready(name="parquet", root=str(tmp_path))
    data = ready(name="parquet", root=str(tmp_path), image_size=16, val_fraction=0.0, batch_size=12)
    assert next(iter(data.train_dataloader()))[0].shape == (12, 3, 16, 16)


def test_auto_storage_streams_what_is_too_large(
    ready: Ready, parquet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ternlab.data import encoded as module
    from ternlab.data.source import MemoryPart, StreamPart

    size = 50 * 3 * 8 * 8
    for limit, kind in ((size, MemoryPart), (size - 1, StreamPart)):
        monkeypatch.setattr(module, "MEMORY_LIMIT", limit)
        assert isinstance(ready(name="parquet", root=str(parquet_root))._source.train, kind)
