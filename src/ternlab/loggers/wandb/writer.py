"""One W&B run that is opened, given rows and a summary, and ended; what fails is raised to whoever called."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from ternlab.loggers.wandb.client import quiet_wandb
from ternlab.loggers.wandb.run_payload import RunPayload, summary_of
from ternlab.reports.metrics_catalog import LAYERS, catalog
from ternlab.runs.metrics import Row

INIT_SECONDS = 30
FINISH_SECONDS = 10
# Optimizer steps. W&B's own counter counts rows, and a run that was resumed elsewhere would have other numbers.
STEP = "step"


class RunWriter:
    """A W&B run that is written to.

    Args:
        payload: of the run.
        mode: `online` or `offline`.
        folder: where W&B keeps its own files; it is made.
        wandb_id: of the W&B run.

    Attributes:
        sent: how many rows of the history were sent, by this run or by those before it.
    """

    def __init__(self, payload: RunPayload, mode: str, folder: Path, wandb_id: str) -> None:
        self._run = open_run(payload, mode, folder, wandb_id)
        # Rows are added in their order, so the server has the first ones.
        self.sent: int = self._run.starting_step
        define_metrics(self._run)

    def send(self, rows: Iterable[Row]) -> None:
        """Send the rows that come after those that were sent."""
        for row in rows:
            self._run.log(row)
            self.sent += 1

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Set the summary, and wait until all is sent.

        Raises:
            TimeoutError: it is not sent in time.
        """
        self._run.summary.update(summary_of(metrics))
        self._run.finish(exit_code=int(failed))


def open_run(payload: RunPayload, mode: str, folder: Path, wandb_id: str) -> Any:
    """Return a new W&B run, or one that is there already and is gone on with."""
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
            # What is sent is what the run's own files say, wherever it is sent from; not this machine and this process.
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            disable_git=True,
            save_code=False,
        ),
    )


def define_metrics(run: Any) -> None:
    """Make the optimizer's steps the horizontal axis of all metrics, and say which way is better."""
    run.define_metric(STEP, hidden=True)
    run.define_metric("epoch", step_metric=STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    for metric in catalog().values():
        if metric.better and LAYERS not in metric.places:
            run.define_metric(metric.name, step_metric=STEP)
            _set_goal(run, metric.name, metric.better)


def _set_goal(run: Any, name: str, better: str) -> None:
    """Say which way a metric is better.

    W&B's records have a field for it that `define_metric` no longer has. Its `summary="max"` would do so too, but then
    the summary has the best epoch, and under another name; what counts is the last.
    """
    # Not public: another version of W&B may have it elsewhere, and then goes without.
    with contextlib.suppress(Exception):
        from wandb.proto.wandb_internal_pb2 import MetricRecord

        goal = MetricRecord.GOAL_MAXIMIZE if better == "higher" else MetricRecord.GOAL_MINIMIZE
        record = MetricRecord(name=name, step_metric=STEP, goal=goal)
        record.options.defined = record.options.step_sync = True
        run._metric_callback(record)
