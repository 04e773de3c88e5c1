"""The folders of each part of a data set, and its classes; does not import torch."""

from __future__ import annotations

import os
from pathlib import Path

from ternlab.core.errors import SettingsError
from ternlab.data.layout import readable_root

TEST_NAMES = ("test", "val")


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


def empty_class(part: Path, name: str) -> SettingsError:
    """Return the error for a class without a training image."""
    return SettingsError(
        "data.root",
        value=str(part / name),
        rule="is a class without a training image",
        instead="images in it, or remove the class folder from every part",
    )
