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


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        SettingsError: it is not one.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError("data.root", value=str(path), rule=f"is not a readable Parquet file ({reason})") from error


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
