"""Nested settings by dotted names (`optim.schedule.name`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names of nested values, and the values.

    A mapping that is empty, or has a dot in a key, is a value itself: its parts could not be put back.
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and value and not any("." in str(key) for key in value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def find(values: Any, name: str) -> Any:
    """Return the value of a dotted name, `None` where there is none."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set the value of a dotted name; missing mappings on the way are made.

    Raises:
        ValueError: a part of the way holds a value; its name is the error's argument.
    """
    *parents, leaf = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ValueError(parent)
    values[leaf] = value
