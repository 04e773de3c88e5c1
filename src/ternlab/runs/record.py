"""A run's record: its status and results in one JSON file."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

from ternlab.core.errors import StorageError
from ternlab.core.files import write_json

Record = dict[str, Any]

# Incremented when a key changes its meaning; readers reject records of later versions.
RECORD_VERSION = 1


class Status(StrEnum):
    """The status of a run. Only `finished` and `diverged` are final."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DIVERGED = "diverged"


def read_record(path: Path) -> Record | None:
    """Return the record in `path`, or `None` if there is none.

    Raises:
        StorageError: the file exists but is not a readable record.
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
    """Replace non-finite numbers, which JSON does not support, with `None`; a diverged run may have some."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
