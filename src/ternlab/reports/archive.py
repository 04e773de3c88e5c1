"""Archives runs in a compressed tar file, and verifies it by reading it back."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ternlab.core.errors import SettingsError, StorageError
from ternlab.core.files import atomic_writer
from ternlab.runs.directory import RunDirectory

_SUFFIXES = (".tar.gz", ".tgz")
# Of use to a process only. And to close it would give up the lock that this process holds on it.
_LEFT_OUT = "lock"
_CHUNK = 1 << 20


def check_target(target: Path, directories: Sequence[RunDirectory]) -> None:
    """Reject a file that the archive cannot be written to.

    Raises:
        SettingsError: it exists, has another suffix, or its folder does not exist or is one of the runs.
    """
    rule = ""
    if not target.name.endswith(_SUFFIXES):
        rule = "is not the name of a compressed tar file"
    elif target.exists():
        rule = "already exists"
    elif not target.parent.is_dir():
        rule = f"there is no folder {target.parent}"
    elif any(target.resolve().is_relative_to(directory.path.resolve()) for directory in directories):
        rule = "is inside a run to be archived"
    if rule:
        raise SettingsError(
            "--to", value=str(target), rule=rule, instead="--to FILE.tar.gz (new, in a folder that exists)"
        )


def write_archive(target: Path, directories: Sequence[RunDirectory]) -> int:
    """Write the runs to `target`, each under its ID, and compare the archive with the files.

    Returns:
        the number of files.

    Raises:
        StorageError: the disk is full, or the archive differs from the run directories.
    """
    try:
        with atomic_writer(target) as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
            for directory in directories:
                for path in _files(directory):
                    tar.add(path, _name(directory, path), recursive=False)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written ({error.strerror or error}).") from error
    return _verified(target, directories)


def _files(directory: RunDirectory) -> Iterator[Path]:
    yield directory.path
    for folder, folders, names in os.walk(directory.path):
        folders.sort()
        here = Path(folder)
        yield from (here / name for name in folders)
        yield from (here / name for name in sorted(names) if here != directory.path or name != _LEFT_OUT)


def _name(directory: RunDirectory, path: Path) -> str:
    return str(Path(directory.run_id) / path.relative_to(directory.path))


def _verified(target: Path, directories: Sequence[RunDirectory]) -> int:
    wanted = {_name(directory, path): path for directory in directories for path in _files(directory)}
    try:
        with tarfile.open(target, "r:gz") as tar:
            for member in tar:
                path = wanted.pop(member.name, None)
                if path is None or not _same(tar, member, path):
                    raise StorageError(f"{target}: {member.name} differs from the original file; the runs are kept.")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise StorageError(f"{target}: cannot be read back ({error}); the runs are kept.") from error
    if wanted:
        raise StorageError(f"{target}: {next(iter(wanted))} is missing; the runs are kept.")
    return sum(1 for directory in directories for path in _files(directory) if path.is_file())


def _same(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bool:
    if member.issym():
        return path.is_symlink() and member.linkname == os.readlink(path)  # noqa: PTH115 - the text of the link itself
    if member.isdir():
        return path.is_dir()
    inside = tar.extractfile(member)
    if inside is None:
        return False
    with inside, path.open("rb") as there:
        return _digest(inside) == _digest(there)


def _digest(file: IO[bytes]) -> bytes:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()
