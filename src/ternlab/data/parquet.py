"""Images in Parquet files, as on the Hugging Face Hub: a column of image files and a column of labels."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.core.typed import assignment
from ternlab.data.encoded import assemble
from ternlab.data.layout import parquet_parts
from ternlab.data.source import DataSource

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

_AGAIN = "copy the file again from its source"


class ParquetImages:
    """The encoded images of one split, kept in memory as one block of bytes.

    Reading a random row of a Parquet file is expensive, so the encoded bytes stay in memory (shared with the workers).
    A data set that exceeds half of the machine's memory should be an image folder instead.

    Args:
        files: the files of the split; rows are numbered consecutively across them.
        settings: the names of the columns.
        class_names: the classes, in the order of the labels. Files that list the same names in a different order are
            remapped. Default: the names in the first file that has any.

    Raises:
        SettingsError: a file is not Parquet, a column is missing or has the wrong type, a value is missing, or a file
            has an unknown class.
    """

    def __init__(self, files: Sequence[Path], settings: DataSettings, class_names: tuple[str, ...] = ()) -> None:
        self._files = list(files)
        opened = [_open(path) for path in files]
        for path, file in zip(files, opened, strict=True):
            _check_columns(path, file.schema_arrow, settings)
        self._names = [_class_names(file.schema_arrow, settings.label_column) for file in opened]
        self.class_names = class_names or next(filter(None, self._names), ())
        _check_memory(files)
        counts = [file.metadata.num_rows for file in opened]
        self._firsts = np.cumsum([0, *counts]).tolist()
        self.labels, self._block, self._edges = self._read(opened, settings)

    def _read(self, opened: list[pq.ParquetFile], settings: DataSettings) -> tuple[Tensor, Tensor, np.ndarray]:
        columns = [settings.image_column, settings.label_column]
        labels, blocks, lengths = [], [], []
        for path, file, names in zip(self._files, opened, self._names, strict=True):
            places = _places(path, names, self.class_names, settings.label_column)
            try:
                for batch in file.iter_batches(columns=columns):
                    numbers = _without_nulls(path, batch.column(columns[1]), columns[1]).cast(pa.int64()).to_numpy()
                    labels.append(_placed(numbers, places))
                    block, sizes = _bytes_of(_without_nulls(path, _encoded(batch.column(columns[0])), columns[0]))
                    blocks.append(block)
                    lengths.append(sizes)
            except (pa.ArrowException, OSError) as error:
                rule = f"cannot be read ({error})"
                raise SettingsError("data.root", value=str(path), rule=rule, instead=_AGAIN) from error
        if not sum(len(sizes) for sizes in lengths):
            rule = "no images found (the file has no rows)"
            raise SettingsError("data.root", value=str(self._files[0]), rule=rule, instead="data.root=PATH")
        edges = np.concatenate([[0], *lengths]).cumsum()
        return torch.from_numpy(np.concatenate(labels)), torch.from_numpy(np.concatenate(blocks)), edges

    def name(self, index: int) -> str:
        """Return the file and the row of image `index`."""
        part = bisect_right(self._firsts, index) - 1
        return f"{self._files[part]}, row {index - self._firsts[part]}"

    def read(self, index: int) -> bytes:
        """Return the bytes of image `index`."""
        # The block is a tensor because torch passes tensors, but not arrays, to spawned workers without copying.
        return self._block.numpy()[self._edges[index] : self._edges[index + 1]].tobytes()


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the images of `folder`'s train and test (or validation) files.

    Class names come from the schema's Hugging Face metadata; without it they are numbers starting at 0. Files may list
    the classes in different orders.

    Raises:
        SettingsError: as for `ParquetImages` and `ternlab.data.encoded.assemble`, or a label is out of range.
    """
    of_train, of_test = parquet_parts(folder)
    train = ParquetImages(of_train, settings)
    test = ParquetImages(of_test, settings, train.class_names)
    classes = train.class_names or tuple(str(label) for label in range(int(train.labels.max()) + 1))
    for part in (train, test):
        wrong = ((part.labels < 0) | (part.labels >= len(classes))).nonzero().flatten()
        if len(wrong):
            row = int(wrong[0])
            source = "named in the file" if train.class_names else "of the training part"
            rule = f"label {int(part.labels[row])} is out of range 0..{len(classes) - 1}, the classes {source}"
            where, instead = (
                f"data.label_column in {part.name(row)}",
                f"labels from 0 to {len(classes) - 1} in every file",
            )
            raise SettingsError(where, value=settings.label_column, rule=rule, instead=instead)
    return assemble(settings, train, test, classes)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        rule = f"is not a readable Parquet file ({reason})"
        raise SettingsError("data.root", value=str(path), rule=rule, instead=_AGAIN) from error


def _check_columns(path: Path, schema: pa.Schema, settings: DataSettings) -> None:
    for key in ("image_column", "label_column"):
        name = getattr(settings, key)
        if name not in schema.names:
            rule = f"{path} has no such column"
            raise SettingsError(f"data.{key}", value=name, rule=rule, instead=did_you_mean(name, schema.names))
    image, label = schema.field(settings.image_column).type, schema.field(settings.label_column).type
    if not pa.types.is_integer(label):
        rule = f"must hold integers, but is {label} in {path}"
        instead = _columns("label_column", schema, pa.types.is_integer) or "class numbers (0, 1, ...) in this column"
        raise SettingsError("data.label_column", value=settings.label_column, rule=rule, instead=instead)
    if not _holds_files(image):
        rule = f"must hold image files (binary, or a struct with the field `bytes`), but is {image} in {path}"
        instead = _columns("image_column", schema, _holds_files) or "image files (PNG, JPEG, ...) in this column"
        raise SettingsError("data.image_column", value=settings.image_column, rule=rule, instead=instead)


def _holds_files(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _columns(setting: str, schema: pa.Schema, fits: Callable[[pa.DataType], bool]) -> str:
    """Return what to type to read the columns of a suitable type; empty if there is none."""
    return " or ".join(assignment(f"data.{setting}", field.name) for field in schema if fits(field.type))


def _encoded(column: pa.Array) -> pa.Array:
    """Return the image files of a column, which contains them directly or in the field `bytes` of a struct."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _bytes_of(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the concatenated values of a binary column, and the length of each value."""
    wide = column.cast(pa.large_binary())
    _, offsets, data = wide.buffers()
    edges = np.frombuffer(offsets, dtype=np.int64)[wide.offset : wide.offset + len(wide) + 1]
    joined = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    return joined[edges[0] : edges[-1]], np.diff(edges)


def _without_nulls(path: Path, column: pa.Array, name: str) -> pa.Array:
    if column.null_count:
        rule, instead = f"{column.null_count} values are missing", "a value in every row"
        raise SettingsError(f"data column {name}", value=str(path), rule=rule, instead=instead)
    return column


def _check_memory(files: Sequence[Path]) -> None:
    needed = sum(path.stat().st_size for path in files)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there // 2:
        rule = f"{needed / 2**30:.1f} GiB of encoded images do not fit in half of this machine's memory"
        instead = "data=image_folder (with the images extracted)"
        raise SettingsError("data.root", value=str(files[0].parent), rule=rule, instead=instead)


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the names of the `ClassLabel` feature of a Hugging Face schema, or none."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _places(path: Path, names: tuple[str, ...], classes: tuple[str, ...], column: str) -> np.ndarray | None:
    """Return the place of each name of a file among the classes; `None` where the numbers are right as they are.

    Raises:
        SettingsError: a name is not among the classes.
    """
    if not names or names == classes[: len(names)]:
        return None
    strange = [name for name in names if name not in classes]
    if strange:
        raise SettingsError(
            f"data.label_column in {path}",
            value=column,
            rule=f"names the class {strange[0]!r}, which is not among the {len(classes)} classes of the training part",
            instead="files that name the same classes",
        )
    return np.array([classes.index(name) for name in names], dtype=np.int64)


def _placed(labels: np.ndarray, places: np.ndarray | None) -> np.ndarray:
    """Return the labels as places among the classes; those out of range become -1, which is refused."""
    if places is None:
        return labels
    inside = (labels >= 0) & (labels < len(places))
    return np.where(inside, places[np.where(inside, labels, 0)], -1)
