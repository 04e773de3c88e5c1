"""The defaults that a user gets with the choices of a run: those that `--help` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import ternlab
from ternlab.core.by_name import option_defaults
from ternlab.core.dotted import leaves
from ternlab.optimizers.registry import OPTIMIZERS
from ternlab.reports.run_rows import Flat, flat
from ternlab.reports.schema import defaults_for

_CONF = Path(ternlab.__file__).parents[2] / "conf"
_GROUPS = ("model", "data", "quant", "algorithm", "optim", "logger")


def defaults_with_choices(settings: Flat) -> Flat:
    """Return the defaults of a run's network, data set, rule and so on, with what the files of conf/ change.

    Args:
        settings: settings of the run, by dotted names; `data.name` is the choice of the group `data`.
    """
    known = dict(defaults_for(settings))
    known |= flat(option_defaults(OPTIMIZERS, settings.get("optim.name")), "optim.") | {
        "optim.name": known["optim.name"]
    }
    for group in _GROUPS:
        name = settings.get(f"{group}.name")
        if isinstance(name, str):
            # The choice itself is still compared with the default choice.
            own = {key: value for key, value in _own_values(group, name).items() if key != "name"}
            known |= dict(leaves({group: own}))
    return known


def _own_values(group: str, name: str) -> dict[str, Any]:
    """Return what a file of conf/ and those that it names set; empty for a choice of a plugin."""
    path = _CONF / group / f"{name}.yaml"
    if not path.is_file():
        return {}
    values: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    found: dict[str, Any] = {}
    for parent in values.pop("defaults", ()):
        found |= _own_values(group, parent) if isinstance(parent, str) else {}
    return found | values
