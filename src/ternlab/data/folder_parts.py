"""The folders of each part of a data set, and its classes; does not import torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ternlab.core.errors import SettingsError
from ternlab.data.layout import readable_root
from ternlab.data.part_choice import AUTO, Choice, choose_part

TEST_FOLDERS = ("test", "val", "validation", "valid")
"""Where the test images may be, the first choice of `data.test_part=auto` first."""
TREE = (
    "this layout (test/ may also be val/ or validation/; see data.test_part):\n"
    "    {root}/train/<class>/*.jpg\n"
    "    {root}/test/<class>/*.jpg"
)


@dataclass(frozen=True)
class FolderParts:
    """The parts of a folder of images.

    Attributes:
        train: folder of the training images, in folders named by class.
        test: folder of the test images, in folders named by class unless there are `annotations`.
        classes: names of the class folders, sorted.
        annotations: file that names the class of each test image, as Tiny-ImageNet has it; `None`: there is none.
        choice: why these are the test images.
    """

    train: Path
    test: Path
    classes: list[str]
    annotations: Path | None
    choice: Choice


def folder_parts(root: Path, test_part: str = AUTO) -> FolderParts:
    """Return the training folder, the test folder and their class names.

    Args:
        root: `data.root`.
        test_part: name of the test folder; `auto`: the first of `TEST_FOLDERS` that has labels.

    Raises:
        SettingsError: a part is missing or has no class folders, or the class folders of the two parts differ.
    """
    readable_root(root)
    train = root / "train"
    classes = _class_names(train) if train.is_dir() else []
    if not classes:
        raise _no_classes(root, train)
    found = [name for name in TEST_FOLDERS if (root / name).is_dir()]
    if test_part != AUTO and not (root / test_part).is_dir():
        there = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name != "train")
        instead = " or ".join(f"data.test_part={name}" for name in there) or TREE.format(root=root)
        raise SettingsError(
            "data.test_part", value=test_part, rule=f"there is no such folder in {root}", instead=instead
        )
    choice = choose_part(test_part, found, lambda name: _unlabelled(root / name, classes), shown="{}/")
    test = root / (choice.name if choice else TEST_FOLDERS[0])
    names = _class_names(test) if test.is_dir() else []
    if choice is not None and not set(names) & set(classes) and (file := annotations_file(test)):
        return FolderParts(train, test, classes, file, choice)
    if choice is None or not names:
        raise _no_classes(root, test)
    _check_same(root, {train.name: classes, test.name: names})
    return FolderParts(train, test, classes, None, choice)


def _check_same(root: Path, names: dict[str, list[str]]) -> None:
    (train, of_train), (test, of_test) = names.items()
    odd = sorted(set(of_train) ^ set(of_test))
    if odd:
        shown = ", ".join(f"{name} (only in {train if name in of_train else test}/)" for name in odd[:5])
        rule = f"the class folders of {train}/ and {test}/ differ: {shown}{', ...' if odd[5:] else ''}"
        raise SettingsError("data.root", value=str(root), rule=rule, instead="give both parts the same class folders")


def annotations_file(part: Path) -> Path | None:
    """Return the file of a part that names the class of each image (`val_annotations.txt`), or `None`."""
    return next(iter(sorted(part.glob("*_annotations.txt"))), None)


def _unlabelled(part: Path, classes: list[str]) -> str:
    """Return why the images of a part have no labels; empty if they have."""
    names = _class_names(part)
    if set(names) & set(classes) or annotations_file(part):
        return ""
    return "none of its folders is named as a class of train/" if names else "it has no class folders"


def _no_classes(root: Path, part: Path) -> SettingsError:
    what = "has no class folders" if part.is_dir() else "is missing"
    rule = f"{part.name}/ {what}; images must be in {part.name}/<class>/"
    return SettingsError("data.root", value=str(root), rule=rule, instead=TREE.format(root=root))


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
