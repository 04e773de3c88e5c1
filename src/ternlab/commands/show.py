"""`ternlab show`: everything known about one run, finished or not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ternlab.commands.choice_defaults import defaults_with_choices
from ternlab.core.cpu import cpu_of_record
from ternlab.core.errors import ExitCode
from ternlab.core.text import aligned
from ternlab.metrics.registry import HEADLINE, LOSS, METRICS, TRAIN, VAL
from ternlab.reports.formatting import format_value
from ternlab.reports.metrics_catalog import RECORD, catalog, metrics_of
from ternlab.reports.one_run import OneRun, one_run
from ternlab.reports.plots import panels, sparkline
from ternlab.reports.terminal import visible, width
from ternlab.runs.directory import existing_run
from ternlab.runs.record import finite

_WIDTH = 80
_HEIGHT = 8
_CURVES = (TRAIN, VAL, "train/loss", "val/loss", "quant/sparsity", "quant/flip_ratio")


def show(chosen: argparse.Namespace) -> ExitCode:
    """Print the contents of a run directory.

    Raises:
        SettingsError: there is no such run.
        StorageError: its record is not readable.
    """
    found = one_run(existing_run(chosen.runs, chosen.run))
    if chosen.json:
        print(json.dumps(finite(_as_object(found)), allow_nan=False))
        return ExitCode.DONE
    parts = [_head(found), _settings(found), _metrics(found), _lines_of_curves(found)]
    parts += [_curves(found)] if chosen.curves else []
    parts += [_layers(found)] if chosen.layers else []
    parts += [_attempts(found), _again(found)]
    print("\n\n".join("\n".join(lines) for lines in map(list, parts) if lines))
    return ExitCode.DONE


def _as_object(found: OneRun) -> dict[str, Any]:
    return {
        **found.record,
        "run_id": found.run_id,
        "status": found.status,
        "path": str(found.path),
        "settings": found.settings,
        "differing_settings": _changed(found),
        "epochs_done": found.epochs,
        "layers": found.layers,
        "again": found.again(),
    }


def _head(found: OneRun) -> Iterator[str]:
    record = found.record
    done, of = len(found.epochs), record.get("epochs")
    progress = "" if found.status == "finished" else f", {done} of {of or '?'} epochs"
    yield f"{visible(found.run_id)}: {visible(found.status)}{progress}"
    what = [f"{name} {visible(str(record[name]))}" for name in ("model", "data", "quant", "seed") if name in record]
    yield ", ".join(what)
    yield visible(str(found.path))
    error = record.get("error")
    if isinstance(error, dict):
        yield from (visible(line) for line in f"{error.get('type')}: {error.get('message')}".splitlines())
    for one in found.layer_faults:
        yield visible(f"layer {one.get('layer')}: {one.get('fault')} (at step {one.get('step')})")


def _changed(found: OneRun) -> dict[str, Any]:
    """Return the settings that differ from what a user gets with the run's choices."""
    known = defaults_with_choices(found.settings)
    return {name: value for name, value in found.settings.items() if name not in known or known[name] != value}


def _settings(found: OneRun) -> list[str]:
    known = defaults_with_choices(found.settings)
    rows = [
        (visible(name), _setting(value), _setting(known[name]) if name in known else "")
        for name, value in _changed(found).items()
    ]
    return aligned([("setting", "value", "default"), *rows]) if rows else []


def _setting(value: Any) -> str:
    return visible(value if isinstance(value, str) else json.dumps(value))


def _metrics(found: OneRun) -> list[str]:
    own, baseline = found.metrics, found.baseline
    known = [name for name in metrics_of(RECORD) if name in own]
    known_names = catalog()
    names = [*known, *(name for name in own if name not in known_names)]
    if not names:
        return []
    if not baseline:
        return aligned(
            [("metric", "value"), *((visible(name), format_value(name, own[name], unit=True)) for name in names)]
        )
    rows = [
        (visible(name), format_value(name, own[name], unit=True), format_value(name, baseline.get(name), unit=True))
        for name in names
    ]
    return aligned([("metric", "value", "full precision"), *rows])


def _lines_of_curves(found: OneRun) -> list[str]:
    terms = dict.fromkeys(name for row in found.epochs for name in row if name.startswith("loss/"))
    names = [name for name in (*_CURVES, *terms) if any(row.get(name) is not None for row in found.epochs)]
    rows = []
    for name in names:
        values = _curve(found, name)
        known = [value for value in values if value is not None]
        rows.append((name, format_value(name, known[0]), sparkline(values), format_value(name, known[-1])))
    return aligned([("by epoch", "first", "", "last"), *rows]) if rows else []


def _curve(found: OneRun, name: str) -> list[float | None]:
    return [row.get(name) for row in found.epochs]


def _curves(found: OneRun) -> Iterator[str]:
    columns = width() or _WIDTH
    for kind, form in ((HEADLINE, ".1f"), (LOSS, ".3f")):
        names = [f"{part}/{kind}" for part in ("train", "val")]
        series = [
            (name, _curve(found, name)) for name in names if any(row.get(name) is not None for row in found.epochs)
        ]
        if series:
            unit = METRICS[kind].unit
            yield from panels([(f"{name} ({unit})", values) for name, values in series], columns, _HEIGHT, form)
            yield ""
    if found.epochs:
        yield f"epochs 1 to {len(found.epochs)}, left to right"


def _layers(found: OneRun) -> list[str]:
    if not found.layers:
        return ["no quantized layers"]
    names = [
        name for name in dict.fromkeys(name for row in found.layers for name in row) if name not in ("epoch", "step")
    ]
    return aligned([tuple(names), *(tuple(_cell(name, row.get(name)) for name in names) for row in found.layers)])


def _cell(name: str, value: Any) -> str:
    # Layer statistics vary over orders of magnitude; four significant digits keep the table readable.
    if name == "weights" or not isinstance(value, float):
        return format_value(name, value)
    return f"{value:.4g}"


def _attempts(found: OneRun) -> list[str]:
    attempts = found.record.get("attempts")
    if not isinstance(attempts, list) or not attempts:
        return []
    known = [one for one in attempts if isinstance(one, dict)]
    further = (name for name in ("step", "job") if any(one.get(name) is not None for one in known))
    names = ("started", "finished", "status", "seconds", "host", *further)
    rows = [tuple(format_value(name, one.get(name)) for name in names) for one in known]
    return aligned([("attempt", *names[1:]), *rows])


def _again(found: OneRun) -> Iterator[str]:
    yield "to reproduce"
    yield from (f"  {visible(command)}" for command in found.again())
    git, versions = found.record.get("git"), found.record.get("versions")
    if isinstance(git, dict):
        yield f"  commit {visible(str(git.get('commit')))}{_changes(git)}"
    cpu = cpu_of_record(found.record.get("host"))
    if cpu is not None:
        yield visible(f"  CPU {cpu}")
    if isinstance(versions, dict):
        yield "  " + ", ".join(visible(f"{name} {version}") for name, version in versions.items())


def _changes(git: dict[str, Any]) -> str:
    return (
        f" with uncommitted changes (sha256 of the diff: {visible(str(git.get('diff_sha256')))[:10]})"
        if git.get("dirty")
        else ""
    )
