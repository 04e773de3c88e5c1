"""Class names that the user gives; does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ternlab.core.errors import SettingsError

ONE_FOR_EACH = "data.class_names=[NAME,NAME,...] with one name for each class, in the order of the labels"


def names_in(file: str) -> tuple[str, ...]:
    """Return the lines of a text file, without surrounding spaces and empty lines at the end.

    Raises:
        ValueError: the file cannot be read, or a line is empty.
    """
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"must be a list of names, [cat,dog], or a text file with one name on each line ({reason})"
        ) from None
    return tuple(line.strip() for line in text.rstrip().split("\n"))


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError unless each name is there once and none is empty."""
    if not names or "" in names:
        raise ValueError("must name every class; one name is empty" if names else "must name at least one class")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"must name every class once, but {twice[0]!r} is there {names.count(twice[0])} times")


def named(classes: tuple[str, ...], names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the classes: `names` if given, in the order of the labels.

    Args:
        classes: the names that the data set has.
        names: `data.class_names`.

    Raises:
        SettingsError: there are more or fewer names than classes, or the data set has the same names in another order.
    """
    if names is None or names == classes:
        return classes
    if len(names) != len(classes):
        shown = ", ".join(classes[:5]) + ", ..." * (len(classes) > 5)
        rule = f"has {len(names)} names for {len(classes)} classes ({shown})"
        raise SettingsError("data.class_names", rule=rule, instead=ONE_FOR_EACH)
    moved = [name for name, own in zip(names, classes, strict=True) if name != own and name in classes]
    if moved:
        rule = (
            f"{moved[0]!r} is at place {names.index(moved[0])}, but in the data it is class {classes.index(moved[0])}"
        )
        raise SettingsError("data.class_names", rule=rule, instead="leave it out, or use the order of the data")
    return names
