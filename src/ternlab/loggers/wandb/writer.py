"""Writes one W&B run: opens it, sends rows and a summary, and finishes it; errors are raised to the caller."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from ternlab.loggers.history import summary_of
from ternlab.loggers.wandb.client import quiet_wandb
from ternlab.loggers.wandb.run_payload import RunPayload
from ternlab.reports.metrics_catalog import LAYERS, catalog
from ternlab.runs.metrics import Row

INIT_SECONDS = 30
FINISH_SECONDS = 10
# Optimizer steps. W&B's own step counts rows, which would differ for a run that was resumed elsewhere.
STEP = "step"


class RunWriter:
    """A W&B run that is written to.

    Args:
        payload: data of the run.
        mode: `online` or `offline`.
        folder: folder for W&B's local files; it is created.
        wandb_id: ID of the W&B run.

    Attributes:
        sent: number of history rows sent so far, also by earlier processes.
    """

    def __init__(self, payload: RunPayload, mode: str, folder: Path, wandb_id: str) -> None:
        self._run = open_run(payload, mode, folder, wandb_id)
        # Rows are appended in order, so the server has the first ones.
        self.sent: int = self._run.starting_step
        define_metrics(self._run)

    def send(self, rows: Iterable[Row]) -> None:
        """Send the rows that have not been sent yet."""
        for row in rows:
            self._run.log(row)
            self.sent += 1

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Set the summary, and wait until everything is sent.

        Raises:
            TimeoutError: it was not sent in time.
        """
        self._run.summary.update(summary_of(metrics))
        self._run.finish(exit_code=int(failed))


def open_run(payload: RunPayload, mode: str, folder: Path, wandb_id: str) -> Any:
    """Return a new W&B run, or resume an existing one."""
    wandb = quiet_wandb()
    folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        project=payload.project,
        entity=payload.entity,
        id=wandb_id,
        name=wandb_id,
        resume="allow",
        group=payload.group,
        job_type=payload.job_type,
        tags=list(payload.tags),
        config=payload.config,
        dir=os.fspath(folder),
        mode=cast(Literal["online", "offline"], mode),
        reinit="create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            # Only the contents of the run's files are sent, not data about this machine and process.
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            disable_git=True,
            save_code=False,
        ),
    )


def define_metrics(run: Any) -> None:
    """Make optimizer steps the x axis of all metrics, and set the direction in which each is better."""
    run.define_metric(STEP, hidden=True)
    run.define_metric("epoch", step_metric=STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    for metric in catalog().values():
        if metric.better and LAYERS not in metric.places:
            run.define_metric(metric.name, step_metric=STEP)
            _set_goal(run, metric.name, metric.better)


def _set_goal(run: Any, name: str, better: str) -> None:
    """Set the direction in which a metric is better.

    W&B's records have a field for it that `define_metric` no longer exposes. `summary="max"` would set it too, but the
    summary would then hold the best epoch, under another name, instead of the last.
    """
    # Not a public API: if another version of W&B has it elsewhere, the direction is not set.
    with contextlib.suppress(Exception):
        from wandb.proto.wandb_internal_pb2 import MetricRecord

        goal = MetricRecord.GOAL_MAXIMIZE if better == "higher" else MetricRecord.GOAL_MINIMIZE
        record = MetricRecord(name=name, step_metric=STEP, goal=goal)
        record.options.defined = record.options.step_sync = True
        run._metric_callback(record)
