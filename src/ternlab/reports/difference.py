"""Everything in which two runs differ: settings, code, versions, machine, data and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ternlab.core.dotted import find, leaves
from ternlab.reports.metrics_catalog import RECORD, metrics_of
from ternlab.reports.one_run import OneRun
from ternlab.reports.schema import defaults_for, is_free
from ternlab.runs.record import Record

Difference = dict[str, tuple[Any, Any]]
"""The values of both runs, by name."""

# Parts of the record, by the heading under which they are shown.
_ORIGIN = {
    "code": ("git",),
    "version": ("versions",),
    "machine": ("host", "facts.arithmetic", "facts.threads", "facts.world_size", "facts.nodes"),
    "data": ("contents", "facts.images", "facts.skipped_images", "facts.classes", "facts.preprocessing"),
    "required run": ("needs", "facts.inputs"),
}


def differences(first: OneRun, second: OneRun) -> dict[str, Difference]:
    """Return what differs, by kind; a kind without differences is left out."""
    found = {"setting": different_settings(first, second)}
    for kind, parts in _ORIGIN.items():
        found[kind] = _different(_parts(first.record, parts), _parts(second.record, parts))
    names = dict.fromkeys([*metrics_of(RECORD), *first.metrics, *second.metrics])
    pairs = {name: (first.metrics.get(name), second.metrics.get(name)) for name in names}
    found["metric"] = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    return {kind: different for kind, different in found.items() if different}


def different_settings(first: OneRun, second: OneRun) -> Difference:
    """Return the settings that differ, those that affect the result first; an absent setting is at its default."""
    sides = [{**defaults_for(run.settings), **run.settings} for run in (first, second)]
    found = _different(*sides)
    return {name: found[name] for name in sorted(found, key=is_free)}


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    names = dict.fromkeys([*first, *second])
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def _parts(record: Record, parts: tuple[str, ...]) -> dict[str, Any]:
    values = {part.removeprefix("facts."): find(record, part) for part in parts}
    return dict(leaves({name: value for name, value in values.items() if value is not None}))
