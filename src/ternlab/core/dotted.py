"""Access to nested settings by dotted names (`optim.schedule.name`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each nested value.

    A mapping that is empty or has a dot in a key counts as a value: its parts could not be put back.
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and value and not any("." in str(key) for key in value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def find(values: Any, name: str) -> Any:
    """Return the value of a dotted name, or `None` if there is none."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set the value of a dotted name; missing mappings along the path are created.

    Raises:
        ValueError: a parent is a value, not a mapping; its name is the error's argument.
    """
    *parents, leaf = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ValueError(parent)
    values[leaf] = value
