"""Images in Parquet files, as on the Hugging Face Hub: a column of image files and a column of labels."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ternlab.core.errors import SettingsError
from ternlab.data.encoded import assemble
from ternlab.data.parquet_columns import bytes_of, check_columns, encoded, refuse_nulls
from ternlab.data.parquet_labels import (
    COPY_AGAIN,
    check_same_kind,
    class_names,
    is_text,
    numbers_of,
    open_parquet,
    placed,
    places,
    text_classes,
    unlabelled,
)
from ternlab.data.parquet_parts import parquet_parts, part_files
from ternlab.data.part_choice import choose_part
from ternlab.data.source import DataSource

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings


# So few that a signal is noticed soon: Python does not see it while Arrow reads.
_ROWS = 1024


class ParquetImages:
    """The encoded images of one split, kept in memory as one block of bytes.

    Reading a random row of a Parquet file is expensive, so the encoded bytes stay in memory (shared with the workers).
    A data set that exceeds half of the machine's memory should be an image folder instead.

    Args:
        files: the files of the split; rows are numbered consecutively across them.
        settings: the names of the columns.
        train: the training part, whose classes are used. Default: the names in the first file that has any; for labels
            that are text `data.class_names`, or else the text in alphabetical order.

    Attributes:
        labels: int64, shape (rows,). Files that list the same names in a different order are remapped.
        class_names: names of the classes, in the order of the labels; empty if the labels are numbers without names.
        text: whether the labels are text.

    Raises:
        SettingsError: a file is not Parquet, a column is missing or has the wrong type, a value is missing, or a file
            has an unknown class.
    """

    def __init__(self, files: Sequence[Path], settings: DataSettings, train: ParquetImages | None = None) -> None:
        self._files = list(files)
        opened = [open_parquet(path) for path in files]
        for path, file in zip(files, opened, strict=True):
            check_columns(path, file.schema_arrow, settings)
        self._names = [class_names(file.schema_arrow, settings.label_column) for file in opened]
        kinds = [file.schema_arrow.field(settings.label_column).type for file in opened]
        self.text: bool = train.text if train is not None else any(map(is_text, kinds))
        for path, kind, names in zip(files, kinds, self._names, strict=True):
            check_same_kind(path, kind, names, settings.label_column, text=self.text)
        self.class_names: tuple[str, ...] = train.class_names if train is not None else ()
        self.class_names = self.class_names or next(filter(None, self._names), ())
        if self.text and not self.class_names:
            self.class_names = settings.class_names or text_classes(opened, settings.label_column)
        _check_memory(files)
        counts = [file.metadata.num_rows for file in opened]
        self._firsts = np.cumsum([0, *counts]).tolist()
        self.labels, self._block, self._edges = self._read(opened, settings)

    def _read(self, opened: list[pq.ParquetFile], settings: DataSettings) -> tuple[Tensor, Tensor, np.ndarray]:
        columns = [settings.image_column, settings.label_column]
        labels, blocks, lengths = [], [], []
        for path, file, names in zip(self._files, opened, self._names, strict=True):
            where = places(path, names, self.class_names, settings.label_column)
            try:
                for number, batch in enumerate(file.iter_batches(_ROWS, columns=columns)):
                    images, names_or_numbers = encoded(batch.column(columns[0])), batch.column(columns[1])
                    refuse_nulls(path, {columns[0]: images, columns[1]: names_or_numbers}, number * _ROWS)
                    labels.append(placed(numbers_of(path, names_or_numbers, self.class_names, columns[1]), where))
                    block, sizes = bytes_of(images)
                    blocks.append(block)
                    lengths.append(sizes)
            except (pa.ArrowException, OSError) as error:
                rule = f"cannot be read ({error})"
                raise SettingsError("data.root", value=str(path), rule=rule, instead=COPY_AGAIN) from error
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
    """Return the images of `folder`'s training files and of the files of its test part.

    Class names come from the schema's Hugging Face metadata, from labels that are text, or from `data.class_names`;
    otherwise they are numbers starting at 0. Files may list the classes in different orders.

    Raises:
        SettingsError: as for `ParquetImages` and `ternlab.data.encoded.assemble`, or a label is out of range.
    """
    of_train, found = parquet_parts(folder, settings.test_part)
    choice = choose_part(
        settings.test_part,
        found,
        lambda part: unlabelled(part_files(folder, part), settings.label_column),
        shown="{}*.parquet",
    )
    assert choice is not None, "parquet_parts returns at least one part"
    train = ParquetImages(of_train, settings)
    test = ParquetImages(part_files(folder, choice.name), settings, train)
    numbers = tuple(str(label) for label in range(int(train.labels.max()) + 1))
    classes = train.class_names or settings.class_names or numbers
    source = "named in the file" if train.class_names else "of the training part"
    if classes is settings.class_names:
        source = "in data.class_names"
    for part in (train, test):
        _check_labels(part, f"0..{len(classes) - 1}, the classes {source}", settings, len(classes))
    return replace(assemble(settings, train, test, classes), about_test=choice.reason)


def _check_labels(part: ParquetImages, expected: str, settings: DataSettings, classes: int) -> None:
    wrong = ((part.labels < 0) | (part.labels >= classes)).nonzero().flatten()
    if not len(wrong):
        return
    row = int(wrong[0])
    rule = f"label {int(part.labels[row])} is out of range {expected} ({len(wrong)} of {len(part.labels)} rows are)"
    instead = "data.test_part=PART with the name of a part that has labels, or data.label_column=COLUMN"
    raise SettingsError(
        f"data.label_column in {part.name(row)}", value=settings.label_column, rule=rule, instead=instead
    )


def _check_memory(files: Sequence[Path]) -> None:
    needed = sum(path.stat().st_size for path in files)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there // 2:
        rule = f"{needed / 2**30:.1f} GiB of encoded images do not fit in half of this machine's memory"
        instead = "extract them and use data=image_folder"
        raise SettingsError("data.root", value=str(files[0].parent), rule=rule, instead=instead)
