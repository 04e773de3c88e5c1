"""File layout of local data sets; does not import torch, so that bad paths are found early."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ternlab.core.errors import SettingsError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
TEST_NAMES = ("test", "val")


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
            raise SettingsError("data.root", value=str(root), rule="is an empty folder")
    except OSError as error:
        rule = f"cannot be read ({error.strerror or error})"
        raise SettingsError("data.root", value=str(root), rule=rule, instead="check its permissions") from error
    return root


def parquet_parts(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the Parquet files of the training and the test split, each sorted by name.

    A split is `<split>.parquet` or `<split>-*.parquet`; `validation` is used if there is no `test`. The files may also
    be in `root/data`, as in Hugging Face Hub repositories.

    Raises:
        SettingsError: a split has no file.
    """
    readable_root(root)
    train = _named_parquet(root, "train")
    test = _named_parquet(root, "test") or _named_parquet(root, "validation")
    for part, files in (("train", train), ("test", test)):
        if not files:
            found = sorted(path.name for path in root.iterdir())[:8]
            rule = f"has no {part}.parquet and no {part}-*.parquet (found: {', '.join(found)})"
            raise SettingsError("data.root", value=str(root), rule=rule)
    return train, test


def _named_parquet(root: Path, part: str) -> list[Path]:
    for folder in (root, root / "data"):
        whole = folder / f"{part}.parquet"
        if whole.is_file():
            return [whole]
        if shards := sorted(folder.glob(f"{part}-*.parquet")):
            return shards
    return []


def folder_parts(root: Path) -> tuple[Path, Path, list[str]]:
    """Return the training folder, the test folder (`test`, else `val`) and their common class names.

    Raises:
        SettingsError: a split is missing or has no class folders, or the class folders of the two splits differ.
    """
    readable_root(root)
    train = root / "train"
    test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), root / TEST_NAMES[0])
    names = {}
    for part in (train, test):
        names[part] = _class_names(part) if part.is_dir() else []
        if not names[part]:
            what = "has no class folders" if part.is_dir() else "is missing"
            rule = f"{part.name}/ {what}; images must be in {part.name}/<class>/"
            raise SettingsError("data.root", value=str(root), rule=rule)
    odd = sorted(set(names[train]) ^ set(names[test]))
    if odd:
        shown = ", ".join(f"{name} (only in {(train if name in names[train] else test).name}/)" for name in odd[:5])
        rule = f"the class folders of {train.name}/ and {test.name}/ differ: {shown}{', ...' if odd[5:] else ''}"
        raise SettingsError("data.root", value=str(root), rule=rule, instead="give both parts the same class folders")
    return train, test, names[train]


def _class_names(part: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(part) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        rule = f"cannot be read ({error.strerror or error})"
        raise SettingsError("data.root", value=str(part), rule=rule, instead="check its permissions") from error


def image_files(folder: Path) -> Iterator[str]:
    """Yield the paths of the image files under `folder`, relative to it, in sorted order."""
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield os.path.relpath(os.path.join(where, name), folder)


def no_images(part: Path) -> SettingsError:
    """Return the error for a folder without any image files."""
    known = " ".join(sorted(IMAGE_SUFFIXES))
    return SettingsError("data.root", value=str(part), rule=f"no images found (looked for {known})")
