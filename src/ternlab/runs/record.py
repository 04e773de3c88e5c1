"""A run's record: its state and results in one JSON file."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

from ternlab.core.errors import StorageError
from ternlab.core.files import write_json

Record = dict[str, Any]

# Raised when a key changes its meaning; readers refuse records from the future.
RECORD_VERSION = 1


class Status(StrEnum):
    """Where a run is. Only `finished` and `diverged` are final."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DIVERGED = "diverged"


def read_record(path: Path) -> Record | None:
    """Return the record in `path`, or `None` when there is none.

    Raises:
        StorageError: the file is there but is not a record.
    """
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path}: is not a readable record ({error}).\n  instead: move its directory away"
        ) from error
    version = record.get("record_version", 0) if isinstance(record, dict) else None
    if not isinstance(version, int) or version > RECORD_VERSION:
        raise StorageError(
            f"{path}: is not a record that this version of ternlab can read.\n  instead: use a newer ternlab"
        )
    return dict(record)


def write_record(path: Path, record: Record) -> None:
    """Replace the record atomically."""
    write_json(path, {"record_version": RECORD_VERSION, **finite(record)})


def finite(value: Any) -> Any:
    """Replace numbers that JSON does not have by `None`; a diverged run has them."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
