"""A run's record and settings as flat rows of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from ternlab.core.cpu import cpu_of_record
from ternlab.core.dotted import leaves
from ternlab.runs.record import Record

Row = dict[str, Any]
Flat = dict[str, Any]

# What a row has of a record besides its metrics.
RUN_COLUMNS: dict[str, Any] = {
    "run_id": pl.String,
    "status": pl.String,
    "data": pl.String,
    "model": pl.String,
    "quant": pl.String,
    "seed": pl.Int64,
    "baseline_run_id": pl.String,
    "needs": pl.String,
    "epochs": pl.Int64,
    "starts_from": pl.String,
    "started": pl.String,
    "finished": pl.String,
    "seconds": pl.Float64,
    "attempts": pl.Int64,
    "tags": pl.String,
    "host": pl.String,
    "cpu": pl.String,
    "commit": pl.String,
    "dirty": pl.Boolean,
    "command": pl.String,
    "error": pl.String,
}
_LARGEST = 2**63 - 1


def record_row(run_id: str, record: Record) -> Row:
    """Return the row of a record; what is missing, or of another type than it should be, is `None`.

    Args:
        run_id: name of the run's folder, by which all commands find it.
        record: as it was read; also of an earlier version of ternlab.
    """
    git, attempts, tags = record.get("git"), record.get("attempts"), record.get("tags")
    cpu = cpu_of_record(record.get("host"))
    values = {
        **record,
        "run_id": run_id,
        "needs": _joined(record.get("needs")),
        "attempts": len(attempts) if isinstance(attempts, list) else None,
        "tags": ",".join(map(str, tags)) if isinstance(tags, list) else None,
        "host": _inside(record.get("host"), "name"),
        "cpu": None if cpu is None else str(cpu),
        "commit": _inside(git, "commit"),
        "dirty": _inside(git, "dirty"),
        "error": _inside(record.get("error"), "message"),
    }
    row = {name: _typed(values.get(name), kind) for name, kind in RUN_COLUMNS.items()}
    metrics = record.get("metrics")
    for name, value in (metrics if isinstance(metrics, dict) else {}).items():
        # A setting has no slash and a metric has one, so that neither can hide the other.
        if "/" in name:
            row[name] = _typed(value, pl.Float64)
    return row


def _joined(needs: Any) -> str | None:
    return ",".join(f"{role}:{run}" for role, run in needs.items()) if isinstance(needs, dict) and needs else None


def encodable(text: str) -> str:
    """Return `text` with a question mark for each half of a character; JSON may have them and UTF-8 has not."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _inside(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _typed(value: Any, kind: Any) -> Any:
    if kind == pl.String:
        return encodable(value) if isinstance(value, str) else None
    if kind == pl.Boolean:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if kind == pl.Float64:
        return float(value)
    return value if isinstance(value, int) and abs(value) <= _LARGEST else None


def flat_config(path: Path) -> Flat:
    """Return the settings in a `config.yaml` by their dotted names.

    Raises:
        ValueError: it is not readable, or holds no settings.
        OSError: it cannot be read.
    """
    # The loader in C is eight times faster, which counts for ten thousand files; not every build has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        config = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if not isinstance(config, dict):
        raise ValueError(f"it holds {type(config).__name__}, not settings")
    return flat(config)


def flat(config: Mapping[str, Any], prefix: str = "") -> Flat:
    """Return nested settings by their dotted names; values are those that JSON has."""
    return {
        name: value if isinstance(value, bool | int | float | str | None) else _plain(value)
        for name, value in leaves(config, prefix)
        if value != {}
    }


def _plain(value: Any) -> Any:
    """Return what JSON makes of a list; of what it does not have (a date), the text."""
    return json.loads(json.dumps(value, default=str))
