"""The contents of a run's W&B run, made from the run's own files and with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row, read_table
from ternlab.runs.record import Record
from ternlab.settings.load import config_of
from ternlab.settings.root import Settings

# Not metrics: identifiers of a row, and values that are the same in every epoch.
_NOT_OF_A_LAYER = ("epoch", "step", "layer", "weights")


@dataclass(frozen=True)
class RunPayload:
    """What is known about a run before its first epoch.

    Attributes:
        run_id: ID of the run and of its W&B run.
        project, entity, group: as in W&B; the default group is the ID of the baseline.
        job_type: `baseline` or `quantized`.
        tags: those of the settings, then rule, model and data.
        config: the resolved settings, and under `run` the entries of the record about the run itself.
    """

    run_id: str
    project: str
    entity: str | None
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Any]

    @property
    def started(self) -> str | None:
        """When the run was started; with `force=true`, a later run can have the same ID."""
        found: str | None = self.config["run"]["started"]
        return found


def run_payload(settings: Settings, directory: RunDirectory, group: str | None = None) -> RunPayload:
    """Return the data to send to W&B about the run in `directory`.

    Args:
        settings: settings of the run.
        directory: the run directory.
        group: W&B group if the settings have none; default: the ID of the baseline.
    """
    record = directory.record() or {}
    chosen = settings.logger
    return RunPayload(
        run_id=directory.run_id,
        project=chosen.project,
        entity=chosen.entity,
        group=chosen.group or group or record.get("baseline_run_id") or directory.run_id,
        job_type="quantized" if settings.quant.active else "baseline",
        tags=tuple(dict.fromkeys((*settings.tags, settings.quant.label, settings.model.name, settings.data.name))),
        config={**config_of(settings), "run": _about(record)},
    )


def _about(record: Record) -> dict[str, Any]:
    git = record.get("git") or {}
    return {name: record.get(name) for name in ("started", "command")} | {"commit": git.get("commit")}


def history_of(directory: RunDirectory, start: int = 0) -> list[Row]:
    """Return one row per finished epoch: that of `metrics.csv`, and those of `layers.csv` as `layers/<name>/...`.

    Args:
        directory: the run directory.
        start: number of initial rows to skip.
    """
    epochs = read_table(directory.metrics_file)[start:]
    steps = {row["step"] for row in epochs}
    layers: dict[str, Row] = {}
    for row in read_table(directory.layers_file) if steps else ():
        if row["step"] not in steps:
            continue
        values = {name: text for name, text in row.items() if name not in _NOT_OF_A_LAYER}
        layers.setdefault(row["step"], {}).update(_numbers(values, f"layers/{row['layer']}/"))
    return [{**_numbers(row), **layers.get(row["step"], {})} for row in epochs]


def summary_of(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that have a value; a diverged run also has others."""
    return {name: value for name, value in metrics.items() if value is not None}


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Row:
    """Return the non-empty cells as numbers."""
    return {prefix + name: _number(text) for name, text in row.items() if text not in ("", None)}


def _number(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
