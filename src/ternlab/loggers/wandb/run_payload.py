"""What a run's W&B run holds: made from the run's own files, and under the names that they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row, read_table
from ternlab.runs.record import Record
from ternlab.settings.load import config_of
from ternlab.settings.root import Settings

# Not metrics: where a row belongs, and what is the same in every epoch.
_NOT_OF_A_LAYER = ("epoch", "step", "layer", "weights")


@dataclass(frozen=True)
class RunPayload:
    """What is known of a run before its first epoch.

    Attributes:
        run_id: id of the run, and of its W&B run.
        project, entity, group: of W&B; without a group in the settings, the id of the baseline.
        job_type: `baseline` or `quantized`.
        tags: those of the settings, then rule, model and data.
        config: the resolved settings, and under `run` what the record says of the run itself.
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
        """When the run was begun; with `force=true` another run has the same id and begins later."""
        found: str | None = self.config["run"]["started"]
        return found


def run_payload(settings: Settings, directory: RunDirectory, group: str | None = None) -> RunPayload:
    """Return what W&B is told of the run in `directory`.

    Args:
        settings: of the run.
        directory: its folder.
        group: of W&B when the settings have none; default: the id of the baseline.
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
    """Return a row for each finished epoch: that of `metrics.csv`, and those of `layers.csv` as `layers/<name>/...`.

    Args:
        directory: of the run.
        start: how many of the first rows to leave out.
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
    """Return the metrics that have a value; a run that diverged has others."""
    return {name: value for name, value in metrics.items() if value is not None}


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Row:
    """Return the cells that are not empty, as numbers."""
    return {prefix + name: _number(text) for name, text in row.items() if text not in ("", None)}


def _number(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
