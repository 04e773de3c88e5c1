"""The Parquet files of each part of a data set; does not import torch or pyarrow."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from ternlab.core.errors import SettingsError
from ternlab.data.layout import readable_root
from ternlab.data.part_choice import AUTO

TEST_PARTS = ("test", "validation", "val", "valid")
"""Where the test images may be, the first choice of `data.test_part=auto` first."""
# A file that the Hugging Face hub has split, after the name of its part: 00000-of-00003, sometimes with a digest.
_SHARD = re.compile(r"(?P<number>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?")


def parquet_parts(root: Path, test_part: str = AUTO) -> tuple[list[Path], list[str]]:
    """Return the Parquet files of the training part, and the parts that the test images may come from, best first.

    Args:
        root: `data.root`.
        test_part: the only part to look for; `auto`: those of `TEST_PARTS`.

    Raises:
        SettingsError: a part has no file, or the files of the training part or of the first test part are not whole.
    """
    readable_root(root)
    train = part_files(root, "train")
    if not train:
        raise SettingsError("data.root", value=str(root), rule=_no_files(root, "train"), instead=_LAYOUT)
    found = [name for name in (TEST_PARTS if test_part == AUTO else (test_part,)) if _files(root, name)[1]]
    if not found and test_part == AUTO:
        raise SettingsError("data.root", value=str(root), rule=_no_files(root, TEST_PARTS[0]), instead=_LAYOUT)
    if not found:
        rule, there = _no_files(root, test_part), [name for name in TEST_PARTS if _files(root, name)[1]]
        instead = " or ".join(f"data.test_part={name}" for name in there) or _LAYOUT
        raise SettingsError("data.test_part", value=test_part, rule=f"{root} {rule}", instead=instead)
    part_files(root, found[0])
    return train, found


def part_files(root: Path, part: str) -> list[Path]:
    """Return the files of a part, sorted by name; none if there are none.

    A part is `<part>.parquet` or `<part>-*.parquet`. The files may also be in `root/data`, as in Hugging Face Hub
    repositories.

    Raises:
        SettingsError: files are missing, or images may be there twice.
    """
    folder, files = _files(root, part)
    if not files or files == [folder / f"{part}.parquet"]:
        return files
    if files[0].name == f"{part}.parquet":
        raise SettingsError(
            "data.root",
            value=str(folder),
            rule=f"has {files[0].name} and {files[1].name}, so images may be there twice",
            instead="one of the two in the folder",
        )
    _check_shards(folder, part, files)
    return files


def _files(root: Path, part: str) -> tuple[Path, list[Path]]:
    """Return the first folder that has files of a part, and these files: the whole one, then its shards."""
    for folder in (root, root / "data"):
        whole, shards = folder / f"{part}.parquet", sorted(folder.glob(f"{glob.escape(part)}-*.parquet"))
        if files := [whole, *shards] if whole.is_file() else shards:
            return folder, files
    return root, []


_LAYOUT = "train.parquet and test.parquet (or validation.parquet), or their shards, in the folder or in its folder data"


def _no_files(root: Path, part: str) -> str:
    found = sorted(path.name for path in root.iterdir())[:8]
    return f"has no {part}.parquet and no {part}-*.parquet (found: {', '.join(found)})"


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
