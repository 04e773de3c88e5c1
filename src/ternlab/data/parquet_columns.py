"""The columns of Parquet files: what they must hold, and the bytes of the image files in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.data.parquet_labels import is_text

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings


def check_columns(path: Path, schema: pa.Schema, settings: DataSettings) -> None:
    """Raise SettingsError unless a file has columns of image files and of labels."""
    for key in ("image_column", "label_column"):
        name = getattr(settings, key)
        if name not in schema.names:
            rule = f"{path} has no such column"
            raise SettingsError(f"data.{key}", value=name, rule=rule, instead=did_you_mean(name, schema.names))
    image, label = schema.field(settings.image_column).type, schema.field(settings.label_column).type
    if not (pa.types.is_integer(label) or is_text(label)):
        rule = f"must hold integers or text, but is {label} in {path}"
        instead = "data.label_column=COLUMN with class numbers that start at 0, or class names"
        raise SettingsError("data.label_column", value=settings.label_column, rule=rule, instead=instead)
    if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0:
        image = image.field("bytes").type
    if not (pa.types.is_binary(image) or pa.types.is_large_binary(image)):
        rule = f"must hold image files (binary, or a struct with the field `bytes`), but is {image} in {path}"
        instead = "data.image_column=COLUMN with the bytes of a PNG, JPEG or other image file in each row"
        raise SettingsError("data.image_column", value=settings.image_column, rule=rule, instead=instead)


def encoded(column: pa.Array) -> pa.Array:
    """Return the image files of a column, which contains them directly or in the field `bytes` of a struct."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def bytes_of(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the concatenated values of a binary column, and the length of each value."""
    wide = column.cast(pa.large_binary())
    _, offsets, data = wide.buffers()
    edges = np.frombuffer(offsets, dtype=np.int64)[wide.offset : wide.offset + len(wide) + 1]
    joined = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    return joined[edges[0] : edges[-1]], np.diff(edges)


def refuse_nulls(path: Path, columns: dict[str, pa.Array], first: int) -> None:
    """Raise SettingsError if a value is missing; `first` is the row of the first values."""
    for name, column in columns.items():
        if column.null_count:
            row = first + pc.index(pc.is_null(column), value=True).as_py()
            rows = f"{column.null_count} of rows {first} to {first + len(column) - 1}"
            rule = f"has no value in row {row} ({rows}); the path of an image file alone is not enough"
            raise SettingsError(f"data column {name}", value=str(path), rule=rule, instead="a value in every row")
