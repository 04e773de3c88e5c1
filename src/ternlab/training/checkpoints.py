"""Checkpoints that are complete or absent: checksummed, never overwritten, and loaded without executing code."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from ternlab.core.errors import CheckpointCorruptError
from ternlab.core.files import atomic_writer, remove_leftovers, write_json
from ternlab.runs.checkpoint_files import last_written_first, manifest_file, newest_first, read_manifest

_log = logging.getLogger(__name__)
# The key under which a checkpoint stores its run and its position in training.
KEY = "ternlab"


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoint I/O for Lightning: writes a temporary file, syncs and renames it, and then writes the checksum.

    A checkpoint without a checksum file was not completed, because its writer was killed; it is never read.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path` and its checksum next to it."""
        path = Path(path)
        manifest_file(path).unlink(missing_ok=True)
        with atomic_writer(path) as file:
            hashed = _Hashing(file)
            try:
                torch.save(checkpoint, cast(IO[bytes], hashed))
            except RuntimeError:
                # torch raises this if a write fails in the middle of its archive.
                if hashed.failure is None:
                    raise
            if hashed.failure is not None:
                raise hashed.failure
        mark = checkpoint.get(KEY, {})
        write_json(manifest_file(path), {"sha256": hashed.digest(), "bytes": hashed.size, **mark})

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Return the checkpoint in `path` after verifying its checksum.

        Raises:
            CheckpointCorruptError: the bytes differ from those that were written.
        """
        verify(Path(path))
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint; the checksum goes first, so a partly removed checkpoint counts as absent."""
        manifest_file(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)


class _Hashing:
    """A write-only file that hashes what is written to it; torch then writes its archive as a stream."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        self._hash.update(data)
        try:
            written = self._file.write(data)
        except OSError as error:
            self.failure = self.failure or error
            raise
        self.size += written
        return int(written)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._hash.hexdigest()


def readable(folder: Path) -> Iterator[Path]:
    """Yield the intact checkpoints in `folder`, newest first; damaged ones are logged."""
    for path in newest_first(folder):
        try:
            verify(path)
        except CheckpointCorruptError as error:
            _log.warning("%s\n  Falling back to the checkpoint before it.", error)
            continue
        yield path


def verify(path: Path) -> None:
    """Verify a checkpoint's bytes against its checksum.

    Raises:
        CheckpointCorruptError: they differ, or the checksum cannot be read.
    """
    try:
        manifest = read_manifest(path)
        expected, size = str(manifest["sha256"]), int(manifest["bytes"])
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointCorruptError(f"{path}: cannot be verified ({error}).") from error
    if got != expected:
        raise CheckpointCorruptError(
            f"{path}: is damaged (sha256 {got[:12]}, expected {expected[:12]}; {path.stat().st_size:,} bytes, "
            f"expected {size:,})."
        )


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest complete checkpoints, and files left by killed writers.

    Newest means written last: a damaged checkpoint of a later step must not displace the ones that are saved before
    the run reaches that step again.
    """
    for path in last_written_first(folder)[keep:]:
        AtomicCheckpointIO().remove_checkpoint(path)
    for path in folder.glob("step-*.ckpt"):
        if not manifest_file(path).exists():
            path.unlink(missing_ok=True)
    remove_leftovers(folder)
