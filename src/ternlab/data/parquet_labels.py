"""Labels of Parquet files: their class names, their order, and whether there are any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ternlab.core.errors import SettingsError

COPY_AGAIN = "copy the file again from its source"


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        SettingsError: it is not one.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        rule = f"is not a readable Parquet file ({reason})"
        raise SettingsError("data.root", value=str(path), rule=rule, instead=COPY_AGAIN) from error


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the names of the `ClassLabel` feature of a Hugging Face schema, or none."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def unlabelled(files: Sequence[Path], column: str) -> str:
    """Return why none of the rows has a label; empty if one has, or if that cannot be told.

    Only the column of labels is read. Hugging Face writes -1 for labels that were not published.
    """
    count = 0
    for path in files:
        file = open_parquet(path)
        if column not in file.schema_arrow.names:
            return f"it has no column {column}"
        kind = file.schema_arrow.field(column).type
        if not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
            return ""
        labels = file.read(columns=[column]).column(column).cast(pa.int64())
        if pc.any(pc.greater_equal(labels, 0)).as_py():
            return ""
        count += len(labels)
    return f"none of its {count} rows has a label (they are -1 or missing)"


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds text; pandas stores a category as a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def text_classes(files: Sequence[pq.ParquetFile], column: str) -> tuple[str, ...]:
    """Return the different labels of all files, which are text, sorted."""
    found: set[str] = set()
    for file in files:
        found.update(file.read(columns=[column]).column(column).cast(pa.string()).unique().drop_null().to_pylist())
    return tuple(sorted(found))


def check_same_kind(path: Path, kind: pa.DataType, names: tuple[str, ...], column: str, *, text: bool) -> None:
    """Refuse a file whose labels cannot be compared with those of the others: numbers beside text.

    Raises:
        SettingsError: the labels are text and `text` is false, or numbers without names and `text` is true.
    """
    if is_text(kind) == text or (text and names):
        return
    rule = f"holds {'numbers' if text else 'text'} in {path}, but {'text' if text else 'numbers'} in other files"
    raise SettingsError("data.label_column", value=column, rule=rule, instead="files with labels of the same kind")


def numbers_of(path: Path, labels: pa.Array, classes: tuple[str, ...], column: str) -> np.ndarray:
    """Return the labels as int64: numbers as they are, text as places among the classes.

    Raises:
        SettingsError: a text is not among the classes.
    """
    if not is_text(labels.type):
        return np.asarray(labels.cast(pa.int64()))
    words = labels.cast(pa.string())
    found = pc.index_in(words, value_set=pa.array(classes, pa.string()))
    if found.null_count:
        strange = words.filter(pc.is_null(found)).unique().to_pylist()
        raise SettingsError(
            f"data.label_column in {path}",
            value=column,
            rule=f"has the label {strange[0]!r}, which is not among the {len(classes)} classes",
            instead="data.class_names=[NAME,NAME,...] with every label, or files with the same labels",
        )
    return np.asarray(found.cast(pa.int64()))


def places(path: Path, names: tuple[str, ...], classes: tuple[str, ...], column: str) -> np.ndarray | None:
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


def placed(labels: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    """Return the labels as places among the classes; those out of range become -1, which is refused."""
    if where is None:
        return labels
    inside = (labels >= 0) & (labels < len(where))
    return np.where(inside, where[np.where(inside, labels, 0)], -1)
