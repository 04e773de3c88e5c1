"""The mirror of a run in an MLflow experiment."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from ternlab.core.dotted import leaves
from ternlab.loggers.history import history_of, scalars_of, summary_of
from ternlab.loggers.options import MlflowSettings
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row
from ternlab.settings.load import config_of
from ternlab.settings.root import Settings

# MLflow's own limits.
_METRICS_PER_CALL, _PARAMS_PER_CALL, _PARAM_LETTERS = 1000, 100, 6000
_NOT_IN_A_NAME = re.compile(r"[^\w\-. /]")
# Sent last of a row, so that a row is complete if it has this.
_MARK = "epoch"


class MlflowMirror:
    """An MLflow run; see `ternlab.loggers.mirror.Mirror`.

    It is found by its tags `ternlab.run_id` and `ternlab.started`, so a resumed run continues in the same MLflow run,
    and a run that was trained again with `force=true` gets another.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        # MLflow reports each migration of its database to the terminal.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.sent = 0
        self._directory = directory
        chosen = settings.logger if isinstance(settings.logger, MlflowSettings) else MlflowSettings()
        self._client = MlflowClient(tracking_uri(chosen, directory))
        self._id, self._params = self._found_or_made(settings, chosen.project)
        self._client.update_run(self._id, status="RUNNING")
        self._send_params(settings)
        self._steps = self._steps_there()
        self._last_step = 0

    def send(self, rows: Sequence[Row]) -> None:
        """Log the rows that MLflow does not have."""
        for row in rows:
            self._last_step = int(row["step"])
            if self._last_step not in self._steps:
                self._log(scalars_of(row), self._last_step)
                self._steps.add(self._last_step)
            self.sent += 1

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Log the results that MLflow does not have at the last step, and how the run ended."""
        there = self._client.get_run(self._id).data.metrics
        found = {_name(name): value for name, value in summary_of(metrics).items()}
        self._log({name: value for name, value in found.items() if there.get(name) != value}, self._last_step)
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")
        missing = {int(row["step"]) for row in history_of(self._directory)} - self._steps_there()
        if missing:
            raise RuntimeError(f"{len(missing)} rows did not arrive")

    def _found_or_made(self, settings: Settings, project: str) -> tuple[str, Mapping[str, str]]:
        """Return the ID of the MLflow run and its parameters."""
        record = self._directory.record() or {}
        identity = {"ternlab.run_id": self._directory.run_id, "ternlab.started": str(record.get("started"))}
        experiment = self._experiment(project)
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in identity.items())
        for run in self._client.search_runs([experiment], wanted, max_results=1):
            return run.info.run_id, run.data.params
        tags = {
            **identity,
            "ternlab.command": str(record.get("command")),
            "ternlab.baseline": str(record.get("baseline_run_id")),
            "ternlab.tags": ", ".join(settings.tags),
            "mlflow.source.git.commit": str((record.get("git") or {}).get("commit")),
        }
        return self._client.create_run(experiment, tags=tags, run_name=self._directory.run_id).info.run_id, {}

    def _experiment(self, project: str) -> str:
        """Return the ID of the experiment, which another run may be creating at this moment."""
        found = self._client.get_experiment_by_name(project)
        try:
            return str(found.experiment_id if found else self._client.create_experiment(project))
        except MlflowException:
            found = self._client.get_experiment_by_name(project)
            if found is None:
                raise
            return str(found.experiment_id)

    def _send_params(self, settings: Settings) -> None:
        """Log the settings; MLflow rejects a parameter that changes, such as the number of workers after a stop."""
        values = {
            _name(name): value if isinstance(value, str) else json.dumps(value)
            for name, value in leaves(config_of(settings))
        }
        missing = [Param(key, value[:_PARAM_LETTERS]) for key, value in values.items() if key not in self._params]
        for start in range(0, len(missing), _PARAMS_PER_CALL):
            self._client.log_batch(self._id, params=missing[start : start + _PARAMS_PER_CALL])

    def _steps_there(self) -> set[int]:
        return {metric.step for metric in self._client.get_metric_history(self._id, _MARK)}

    def _log(self, values: Mapping[str, float], step: int) -> None:
        moment = int(time.time() * 1000)
        ordered = sorted(values, key=lambda name: name == _MARK)
        metrics = [Metric(_name(name), values[name], moment, step) for name in ordered]
        for some in self._missing_parts(metrics, step):
            self._client.log_batch(self._id, metrics=some)

    def _missing_parts(self, metrics: Sequence[Metric], step: int) -> Iterator[Sequence[Metric]]:
        """Yield the metrics in as many parts as MLflow requires; each part is stored completely or not at all."""
        parts = [metrics[start : start + _METRICS_PER_CALL] for start in range(0, len(metrics), _METRICS_PER_CALL)]
        for part in parts:
            known = self._client.get_metric_history(self._id, part[0].key) if len(parts) > 1 else ()
            if all(metric.step != step for metric in known):
                yield part


def tracking_uri(chosen: MlflowSettings, directory: RunDirectory) -> str:
    """Return the URI that is set, or else `MLFLOW_TRACKING_URI`, or else a file beside the folder of the runs."""
    default = f"sqlite:///{Path(directory.path).parent.parent / 'mlflow.db'}"
    return chosen.uri or os.environ.get("MLFLOW_TRACKING_URI") or default


def _name(name: str) -> str:
    """Return a name without the characters that MLflow rejects."""
    return _NOT_IN_A_NAME.sub("_", name)
