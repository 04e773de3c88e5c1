"""Names of image files from command-line arguments; lazy, and does not import torch."""

from __future__ import annotations

import glob
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ternlab.core.errors import SettingsError
from ternlab.data.layout import image_files, no_images

STANDARD_INPUT = "-"


def listed(wanted: Sequence[str]) -> Iterator[str]:
    """Return the names of image files, in the order of `wanted`, as typed or found.

    A folder yields the images below it and a pattern (`*`, `?`, `[...]`, `**`) its matches, both sorted by name; `-`
    yields the lines of standard input. Files that are named explicitly may have any suffix.

    Raises:
        SettingsError: a file does not exist, a pattern matches nothing, or there are no images.
    """
    for entry in wanted:
        _check(entry)
    names = itertools.chain.from_iterable(map(_names, wanted))
    first = next(names, None)
    if first is None:
        raise _none(wanted)
    return itertools.chain([first], names)


def _check(entry: str) -> None:
    if entry == STANDARD_INPUT or Path(entry).exists():
        return
    if not glob.has_magic(entry):
        raise SettingsError(
            "images", value=entry, rule="there is no such file or folder", instead="images=FILE, FOLDER or -"
        )
    if not _fitting(entry):
        raise SettingsError("images", value=entry, rule="no file matches this pattern", instead="images=FOLDER")


def _names(entry: str) -> Iterator[str]:
    if entry == STANDARD_INPUT:
        yield from _lines(sys.stdin.buffer)
    elif Path(entry).is_dir():
        try:
            yield from (os.path.join(entry, name) for name in image_files(Path(entry)))
        except SettingsError as error:
            raise error.about("images", instead_of="data.root") from None
    elif Path(entry).exists():
        yield entry
    else:
        yield from _fitting(entry)


def _fitting(pattern: str) -> list[str]:
    # Unlike Path.glob, this accepts absolute patterns and leaves names as typed.
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207
    return sorted(name for name in found if os.path.isfile(name))


def _lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Yield the non-empty lines, decoded like file names."""
    for line in stream:
        if name := line.rstrip(b"\r\n"):
            yield os.fsdecode(name)


def _none(wanted: Sequence[str]) -> SettingsError:
    folders = [entry for entry in wanted if Path(entry).is_dir()]
    if folders:
        return no_images(Path(folders[0])).about("images", instead_of="data.root")
    rule = "no names on standard input" if STANDARD_INPUT in wanted else "no image files"
    return SettingsError("images", value=", ".join(wanted), rule=rule, instead="images=FILE or FOLDER")
