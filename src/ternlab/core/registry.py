"""Registries of parts by name, for rules, networks, data sets, launchers, optimizers, metrics and export targets.

Does not import torch: an entry names its code as `"package.module:function"`, which is imported on first use. So a
typo is reported immediately, and a part whose packages are not installed costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

from ternlab.core.errors import SettingsError, did_you_mean

E = TypeVar("E")


class Registry(dict[str, E]):
    """The parts of one kind, by name.

    Args:
        kind: name of an entry in messages (`network`).
        setting: the setting that selects an entry, for messages (`model.name`).
        entries: the built-in entries; plugins add theirs with `register`.
    """

    def __init__(self, kind: str, setting: str, entries: Mapping[str, E]) -> None:
        super().__init__(entries)
        self.kind = kind
        self.setting = setting

    def register(self, name: str, entry: E) -> None:
        """Add an entry; adding the same entry again has no effect, so a module may be imported twice.

        Raises:
            ValueError: the name is taken by another entry.
        """
        if self.get(name, entry) != entry:
            raise ValueError(f"The {self.kind} name {name!r} is already registered for {self[name]}.")
        self[name] = entry

    def entry(self, name: str, setting: str | None = None) -> E:
        """Return the entry of `name`.

        Args:
            name: name of the part.
            setting: the setting it was given in, for messages (`None`: `self.setting`).

        Raises:
            SettingsError: there is no such entry; near matches are listed.
        """
        if name not in self:
            instead = f"{did_you_mean(name, self)}; for your own: plugins=[the module that registers it]"
            raise SettingsError(setting or self.setting, value=name, rule=f"no such {self.kind}", instead=instead)
        return self[name]


def checked_reference(argument: str, reference: str) -> str:
    """Return `reference` if it has the form `"package.module:name"`.

    Args:
        argument: name of the argument it was passed as, for the message.
        reference: location of a function or class.

    Raises:
        ValueError: it has another form.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        raise ValueError(f"The value of `{argument}` is {reference!r}, but must be 'package.module:function'.")
    return reference


def imported(reference: str) -> Any:
    """Import and return what `"package.module:name"` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
