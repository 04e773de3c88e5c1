"""Folders and image files on disk; does not import torch, so that bad paths are found early."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ternlab.core.errors import SettingsError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})


def readable_root(root: Path) -> Path:
    """Return `root` if it is a readable folder that is not empty.

    Raises:
        SettingsError: it is missing, not a folder, not readable, or empty.
    """
    try:
        if not root.exists():
            raise SettingsError("data.root", value=str(root), rule="does not exist", instead="data.root=PATH")
        if not root.is_dir():
            rule = "is a file, but must be the folder that contains the data"
            raise SettingsError("data.root", value=str(root), rule=rule, instead=f"data.root={root.parent}")
        if not any(True for _ in os.scandir(root)):
            raise SettingsError("data.root", value=str(root), rule="is an empty folder", instead="data.root=PATH")
    except OSError as error:
        rule = f"cannot be read ({error.strerror or error})"
        raise SettingsError("data.root", value=str(root), rule=rule, instead="check its permissions") from error
    return root


def walk(folder: str | Path, *, skip_unreadable: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below and including `folder`, and the names of its files; all sorted, hidden ones left out.

    Links are followed, but for those that lead back to a folder that they are in.

    Raises:
        SettingsError: a folder cannot be read, and `skip_unreadable` is false.
    """
    pending = [(str(folder), frozenset[tuple[int, int]]())]
    while pending:
        where, around = pending.pop()
        around |= {_identity(where)}
        try:
            folders, names = _contents(where)
        except OSError as error:
            if not skip_unreadable:
                # Not passed over: the images in it would be missing without a word.
                rule = f"cannot be read ({error.strerror or error})"
                raise SettingsError("data.root", value=where, rule=rule, instead="check its permissions") from error
            continue
        yield where, names
        below = [os.path.join(where, name) for name in folders]
        pending += [(path, around) for path in reversed(below) if _identity(path) not in around]


def _contents(folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders in a folder and those of its files, sorted, hidden ones left out."""
    folders: list[str] = []
    names: list[str] = []
    with os.scandir(folder) as found:
        for entry in found:
            if not entry.name.startswith("."):
                (folders if _is_folder(entry) else names).append(entry.name)
    return sorted(folders), sorted(names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere
        return False


def image_files(folder: Path, others: Counter[str] | None = None) -> Iterator[str]:
    """Yield the paths of the image files under `folder`, relative to it, in the order of `walk`.

    Args:
        folder: searched with all folders in it.
        others: counts the other files, by their suffix.
    """
    for where, names in walk(folder):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in IMAGE_SUFFIXES:
                yield os.path.relpath(os.path.join(where, name), folder)
            elif others is not None:
                others[suffix] += 1


def _identity(folder: str) -> tuple[int, int]:
    """Return what two names of the same folder have in common."""
    try:
        found = Path(folder).stat()
    except OSError:
        return (-1, -1)
    return found.st_dev, found.st_ino


def no_images(part: Path) -> SettingsError:
    """Return the error for a folder without any image files."""
    known = " ".join(sorted(IMAGE_SUFFIXES))
    return SettingsError(
        "data.root", value=str(part), rule=f"no images found (looked for {known})", instead="data.root=PATH"
    )
