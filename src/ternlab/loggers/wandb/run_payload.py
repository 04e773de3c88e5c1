"""What W&B is told about a run before its first epoch, from the run's own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ternlab.loggers.options import wandb_settings
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import Record
from ternlab.settings.load import config_of
from ternlab.settings.root import Settings


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
    chosen = wandb_settings(settings.logger)
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
