"""Versions of modules in state dicts: torch keeps them next to the tensors, and a plain dictionary loses them.

A module may read an older state in its own way, or refuse it (torchvision's MNASNet). Without versions, torch takes it
for the oldest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import nn

Versions = dict[str, dict[str, Any]]


def versions_of(state: Mapping[str, Any]) -> Versions:
    """Return the versions in a state dict, by module name; empty if it has none."""
    found = getattr(state, "_metadata", None)
    return dict(found) if isinstance(found, Mapping) else {}


def keeping_versions(source: Mapping[str, Any], tensors: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return entries of a state dict with the versions that it has, if it has any."""
    found = OrderedDict(tensors)
    if versions := versions_of(source):
        _set(found, versions)
    return found


def with_versions(
    state: Mapping[str, Any], model: nn.Module, versions: Versions | None = None
) -> OrderedDict[str, Any]:
    """Return `state` with versions, ready for `model.load_state_dict`.

    Args:
        state: names and tensors.
        model: whose own versions are used where there are no others.
        versions: those of the file that the state is from; modules that `model` does not have are ignored.
    """
    own = versions_of(model.state_dict())
    found = OrderedDict(state)
    known = {name: version for name, version in (versions or {}).items() if name in own}
    _set(found, own | known)
    return found


def _set(state: OrderedDict[str, Any], versions: Versions) -> None:
    # An attribute that only torch knows.
    vars(state)["_metadata"] = OrderedDict(versions)
