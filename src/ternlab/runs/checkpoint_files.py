"""Checkpoint files by name and age; their contents are read elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_NAME = re.compile(r"step-(\d{9})\.ckpt")


def manifest_file(path: Path) -> Path:
    """Return the path of a checkpoint's checksum file."""
    return path.with_suffix(".json")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what is known about a checkpoint without reading it: `sha256`, `bytes`, `run_id`, `step`, `batch`."""
    manifest: dict[str, Any] = json.loads(manifest_file(path).read_text())
    return manifest


def checkpoint_file(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint taken after `step` optimizer steps."""
    return folder / f"step-{step:09d}.ckpt"


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder` that have a checksum file, latest step first."""
    paths = [path for path in folder.glob("step-*.ckpt") if _NAME.fullmatch(path.name)]
    return [path for path in sorted(paths, reverse=True) if manifest_file(path).exists()]


def last_written_first(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder` that have a checksum file, most recently written first.

    The first need not be the latest step: a damaged checkpoint of a later step stays until earlier steps are saved.
    """
    return sorted(newest_first(folder), key=_written, reverse=True)


def last_written_step(folder: Path) -> int:
    """Return the step of the most recently written checkpoint, or 0 if there is none."""
    written = last_written_first(folder)
    return int(written[0].stem.removeprefix("step-")) if written else 0


def _written(path: Path) -> tuple[int, str]:
    return manifest_file(path).stat().st_mtime_ns, path.name
