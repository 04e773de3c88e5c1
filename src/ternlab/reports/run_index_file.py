"""The index of a folder of runs: a file next to them that can be rebuilt at any time."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path

import polars as pl

from ternlab.core.errors import StorageError
from ternlab.core.files import atomic_writer
from ternlab.reports.run_rows import RUN_COLUMNS

# The number is raised when a column changes its meaning; versions do not read one another's files.
_NAME = ".index-2.arrow"
_MAGIC = b"ternlab index 2\n"

# By these a record is known to be the one that was read: a file that is replaced is another file.
STAMP: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "mtime_ns": pl.Int64(),
    "size": pl.Int64(),
    "inode": pl.UInt64(),
}


def empty_index() -> pl.DataFrame:
    """Return an index of no runs: stamp, columns of the record, and the settings as JSON (null: not read yet)."""
    return pl.DataFrame(schema={**STAMP, **RUN_COLUMNS, "settings": pl.String})


def load_index(folder: Path) -> pl.DataFrame:
    """Return the index of the runs below `folder`; an empty one when there is none that can be used."""
    try:
        data = (folder / _NAME).read_bytes()
    except OSError:
        return empty_index()
    start = len(_MAGIC) + hashlib.sha256().digest_size
    # Asked before Polars reads it: bytes that Arrow did not write can end the process.
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != hashlib.sha256(data[start:]).digest():
        return empty_index()
    try:
        index = pl.read_ipc(io.BytesIO(data[start:]))
    except (pl.exceptions.PolarsError, OSError):
        return empty_index()
    expected = empty_index().schema
    whole = all(index.schema.get(name) == kind for name, kind in expected.items())
    rest = all(kind == pl.Float64 for name, kind in index.schema.items() if name not in expected)
    return index if whole and rest else empty_index()


def save_index(folder: Path, index: pl.DataFrame) -> None:
    """Write the index; where that is not possible, the next reader reads the records again."""
    buffer = io.BytesIO()
    index.write_ipc(buffer, compression="lz4")
    data = buffer.getvalue()
    with contextlib.suppress(OSError, StorageError), atomic_writer(folder / _NAME) as file:
        file.write(_MAGIC + hashlib.sha256(data).digest() + data)
