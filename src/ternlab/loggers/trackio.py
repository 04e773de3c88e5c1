"""The mirror of a run in Trackio's local database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trackio.sqlite_storage import SQLiteStorage

from ternlab.loggers.history import scalars_of, summary_of
from ternlab.loggers.options import TrackioSettings
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row
from ternlab.settings.load import config_of
from ternlab.settings.root import Settings


class TrackioMirror:
    """A Trackio run; see `ternlab.loggers.mirror.Mirror`.

    Rows are stored as Trackio's own importers store them: `trackio.init` prints to standard output, allows one run per
    process and turns errors into warnings. Trackio keeps one row per key, so a row that is sent again changes nothing.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        self.sent = 0
        record = directory.record() or {}
        chosen = settings.logger if isinstance(settings.logger, TrackioSettings) else TrackioSettings()
        SQLiteStorage.validate_project_name(chosen.project)
        self._project, self._name = chosen.project, directory.run_id
        # With `force=true`, a later run can have the same id.
        self._id = f"{directory.run_id}-{record.get('started')}"
        group = chosen.group or record.get("baseline_run_id") or directory.run_id
        about = {name: record.get(name) for name in ("started", "command")}
        self._config = {**config_of(settings), "run": about, "_Group": group, "_Created": record.get("started")}
        self._last_step = 0

    def send(self, rows: Sequence[Row]) -> None:
        """Store the rows."""
        self._store([scalars_of(row) for row in rows], [int(row["step"]) for row in rows], "epoch")
        self.sent += len(rows)

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Store the results as a row at the last step; Trackio has no state of a run."""
        results = summary_of(metrics)
        if results:
            self._store([results], [self._last_step], "results")

    def _store(self, rows: Sequence[Mapping[str, float]], steps: Sequence[int], kind: str) -> None:
        if not rows:
            return
        self._last_step = steps[-1]
        SQLiteStorage.bulk_log(
            project=self._project,
            run=self._name,
            metrics_list=[dict(row) for row in rows],
            steps=list(steps),
            config=self._config,
            log_ids=[f"{self._id}-{kind}-{step}" for step in steps],
            run_id=self._id,
        )
