"""File layout of local data sets; does not import torch, so that bad paths are found early."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ternlab.core.errors import SettingsError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
TEST_NAMES = ("test", "val")
# A file that the Hugging Face hub has split, after the name of its part: 00000-of-00003, sometimes with a digest.
_SHARD = re.compile(r"(?P<number>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?")


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
            raise SettingsError("data.root", value=str(root), rule=rule, instead="data.root=PATH (with both parts)")
    return train, test


def _named_parquet(root: Path, part: str) -> list[Path]:
    for folder in (root, root / "data"):
        whole, shards = folder / f"{part}.parquet", sorted(folder.glob(f"{part}-*.parquet"))
        if whole.is_file() and shards:
            raise SettingsError(
                "data.root",
                value=str(folder),
                rule=f"has {whole.name} and {shards[0].name}, so images may be there twice",
                instead="one of the two in the folder",
            )
        if whole.is_file():
            return [whole]
        if shards:
            _check_shards(folder, part, shards)
            return shards
    return []


def _check_shards(folder: Path, part: str, shards: list[Path]) -> None:
    """Refuse numbered files (`train-00000-of-00003.parquet`) that are not all there, each once, and nothing else.

    Raises:
        SettingsError: the file that is missing or superfluous is named.
    """
    numbered = {path: found for path in shards if (found := _SHARD.fullmatch(path.stem.removeprefix(f"{part}-")))}
    if not numbered:
        return
    totals = sorted({found["total"] for found in numbered.values()}, key=int)
    other = [path.name for path in shards if path not in numbered]
    total, numbers = totals[-1], [int(found["number"]) for found in numbered.values()]
    missing = sorted(set(range(int(total))) - set(numbers))
    if len(totals) > 1:
        rule = f"has {part} files of {' and of '.join(totals)}, so images may be there twice"
    elif other:
        rule = f"has {other[0]} beside {part} files that are numbered 0 to {int(total) - 1} of {total}"
    elif missing:
        rule = f"has {len(numbers)} of {int(total)} {part} files; number {missing[0]} is missing"
    elif len(set(numbers)) < len(numbers) or max(numbers) >= int(total):
        rule = f"has a number of a {part} file twice, or one above {int(total) - 1}"
    else:
        return
    raise SettingsError("data.root", value=str(folder), rule=rule, instead="the files of one download, all of them")


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
            instead = "data.root=PATH (the folder that contains train/ and test/ or val/)"
            raise SettingsError("data.root", value=str(root), rule=rule, instead=instead)
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


def walk(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below and including `folder`, and the names of its files; all sorted, hidden ones left out.

    Links are followed, but for those that lead back to a folder that they are in.
    """
    inside: dict[str, frozenset[tuple[int, int]]] = {}
    for where, folders, names in os.walk(folder, followlinks=True):
        around = inside.pop(where, frozenset()) | {_identity(where)}
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and _identity(os.path.join(where, name)) not in around
        )
        inside.update((os.path.join(where, name), around) for name in folders)
        yield where, sorted(name for name in names if not name.startswith("."))


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


def empty_class(part: Path, name: str) -> SettingsError:
    """Return the error for a class without a training image."""
    return SettingsError(
        "data.root",
        value=str(part / name),
        rule="is a class without a training image",
        instead="images in it, or remove the class folder from every part",
    )


def no_images(part: Path) -> SettingsError:
    """Return the error for a folder without any image files."""
    known = " ".join(sorted(IMAGE_SUFFIXES))
    rule = f"no images found (looked for {known})"
    return SettingsError("data.root", value=str(part), rule=rule, instead="data.root=PATH (a folder with images)")
