"""The Parquet files of each part of a data set; does not import torch or pyarrow."""

from __future__ import annotations

import re
from pathlib import Path

from ternlab.core.errors import SettingsError
from ternlab.data.layout import readable_root

# A file that the Hugging Face hub has split, after the name of its part: 00000-of-00003, sometimes with a digest.
_SHARD = re.compile(r"(?P<number>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?")


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
