"""Access to nested settings by dotted names (`optim.schedule.name`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ternlab.core.errors import SettingsError


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each nested value.

    A mapping that is empty or has a dot in a key counts as a value: its parts could not be put back.
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and value and not any("." in str(key) for key in value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all values, and of the mappings that hold them."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from names(value, f"{prefix}{name}.")


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


def replaced(values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return `values` with the value of a dotted name changed; unchanged parts are shared with the original.

    Raises:
        KeyError: a mapping along the path does not exist.
    """
    head, _, rest = name.partition(".")
    return {**values, head: replaced(values[head], rest, value) if rest else value}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys at any depth into nested mappings: `{"a.b": 1}` becomes `{"a": {"b": 1}}`.

    Raises:
        SettingsError: a name is given twice, or has both a value and values below it.
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        for name, leaf in leaves({key: nested(value) if isinstance(value, Mapping) else value}):
            found = find(tree, name)
            if leaf == {} and isinstance(found, dict):
                continue
            try:
                if found is not None:
                    raise ValueError(name)
                put(tree, name, leaf)
            except ValueError:
                raise SettingsError(key, value=value, rule="is given twice", instead="each name once") from None
    return tree
