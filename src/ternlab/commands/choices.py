"""The groups of conf/ and their choices, as `--help` shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Folders of conf/ that are no groups of a training: Hydra's own settings, and commands without groups.
_NOT_GROUPS = frozenset({"hydra", "file"})


def own_folders(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the folders of a person's own configuration on a command line (`--config-dir FOLDER`)."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            yield Path(value if equals else following)


def choices(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Return the choices of each group in configuration folders, without the parts that choices are made of."""
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.glob("*/[!_]*.yaml")):
        found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found.keys() - _NOT_GROUPS)}


def choices_text(folders: Iterable[Path]) -> str:
    """Return one line for each group."""
    return "".join(f"{group}: {', '.join(names)}\n" for group, names in choices(folders).items())
