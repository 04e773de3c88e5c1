"""The groups of conf/ and their choices, as shown by `--help`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ternlab.core.user_files import config_folders

# Folders of conf/ that are not groups of a training configuration: Hydra's settings, and commands without groups.
_NOT_GROUPS = frozenset({"hydra", "file"})


def own_folders(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the user's configuration folders: those on a command line (`--config-dir FOLDER`), and the user's own."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            yield Path(value if equals else following)
    yield from config_folders()


def choices(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Return the choices of each group in configuration folders, without the partial files (`_*.yaml`)."""
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.glob("*/[!_]*.yaml")):
        found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found.keys() - _NOT_GROUPS)}


def choices_text(folders: Iterable[Path]) -> str:
    """Return one line per group."""
    return "".join(f"{group}: {', '.join(names)}\n" for group, names in choices(folders).items())
