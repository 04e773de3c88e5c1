"""The W&B run of a whole sweep: a table of trials, means over seeds, the heat map, the best setting."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ternlab.loggers.options import WandbSettings
from ternlab.loggers.wandb.account import wandb_mode
from ternlab.loggers.wandb.client import quiet_wandb
from ternlab.loggers.wandb.heat_map import heat_map_picture
from ternlab.loggers.wandb.run_payload import RunPayload
from ternlab.loggers.wandb.server import Server
from ternlab.loggers.wandb.writer import open_run
from ternlab.metrics.registry import DEGRADATION, TEST, VAL
from ternlab.reports.load_runs import Gathered, gather, value_of
from ternlab.reports.seed_groups import Group, HeatMap, best_of, groups_of, heat_maps
from ternlab.sweeps.plan import Plan

_log = logging.getLogger(__name__)
# Maximum time for the summary; a sweep takes at least minutes.
_SECONDS = 60.0
_SHOWN = (VAL, TEST, DEGRADATION)

Table = tuple[list[str], list[list[Any]]]


@dataclass(frozen=True)
class SweepSummary:
    """The contents of the W&B run of a sweep.

    Attributes:
        tables: header and rows by name: `trials`, and `settings` with means over seeds, best first.
        heat: the fullest heat map of mean degradation, if two settings span one.
        summary: number of trials by state, the best setting and its means.
    """

    tables: Mapping[str, Table]
    heat: HeatMap | None
    summary: Mapping[str, Any]


def summarize_sweep(plan: Plan, runs: Path, folder: Path) -> None:
    """Send the summary of a sweep to W&B, or write it to `folder` if W&B is offline.

    Does nothing if no trial has `logger=wandb`. Never raises, and returns after a minute at most; failures are logged
    as warnings. It may be called again; the W&B run has the ID of the sweep.

    Args:
        plan: the sweep's plan.
        runs: folder of the runs.
        folder: the sweep's folder.
    """
    failed: list[str] = []

    def send() -> None:
        try:
            send_summary(plan, runs, folder)
        except Exception as error:  # noqa: BLE001 - whatever W&B raises, the sweep has its results
            failed.append(" ".join(str(error).split()) or type(error).__name__)

    if logger_of(plan) is None:
        return
    thread = threading.Thread(target=send, name="wandb", daemon=True)
    thread.start()
    thread.join(_SECONDS)
    if thread.is_alive() or failed:
        _log.warning(
            "The sweep's summary was not sent to W&B (%s). To send it later:\n  ternlab wandb sync --sweep %s",
            *(failed or [f"no response within {_SECONDS:.0f} s"]),
            folder,
        )


def send_summary(plan: Plan, runs: Path, folder: Path, mode: str | None = None) -> bool:
    """Send the summary of a sweep, and return whether there was anything to send.

    Raises:
        Exception: whatever W&B raises.
    """
    logger = logger_of(plan) or WandbSettings(name="wandb")
    mode = mode or wandb_mode(logger)
    found = summary_of_sweep(gather(runs, plan=plan, sweep_folder=folder, warn=_log.warning))
    payload = RunPayload(
        run_id=plan.sweep_id,
        project=logger.project,
        entity=logger.entity,
        group=logger.group or plan.sweep_id,
        job_type="sweep",
        tags=("sweep",),
        config={"command": plan.command, "trials": len(plan.trials), "run": {"started": None}},
    )
    if mode == "online":
        there = Server().look(payload, plan.sweep_id)
        if there is not None and all(there.summary.get(name) == value for name, value in found.summary.items()):
            return False
    wandb = quiet_wandb()
    shown: dict[str, Any] = {name: wandb.Table(columns=head, data=rows) for name, (head, rows) in found.tables.items()}
    if found.heat is not None:
        shown["heat_map"] = wandb.Image(heat_map_picture(found.heat), caption=f"{found.heat.y} x {found.heat.x}")
    with open_run(payload, mode, folder, plan.sweep_id) as run:
        run.log(shown)
        run.summary.update(dict(found.summary))
    return True


def logger_of(plan: Plan) -> WandbSettings | None:
    """Return the logger of the first trial with W&B, `None` if there is none."""
    for trial in plan.trials:
        logger = plan.configs[trial.run_id].get("logger") or {}
        if logger.get("name") == "wandb":
            return WandbSettings(**logger)
    return None


def summary_of_sweep(gathered: Gathered) -> SweepSummary:
    """Return the contents of the W&B run of a sweep, from its records."""
    groups = groups_of(gathered.runs, gathered.axes)
    maps = heat_maps(groups, gathered.axes)
    tables = {"trials": _trials(gathered)}
    if groups:
        tables["settings"] = _settings(groups)
    states = Counter(str(run.state) for run in gathered.runs if run.point is not None)
    counts = {f"trials/{state}": count for state, count in sorted(states.items())}
    return SweepSummary(tables, maps[0] if maps else None, {**counts, **_best(best_of(groups).values())})


def _trials(gathered: Gathered) -> Table:
    head = ["run", "state", *gathered.axes, "seed", *_SHOWN]
    rows = [
        [
            run.run_id,
            str(run.state) if run.point is not None else f"{run.state} (baseline)",
            *(_cell(value_of(run, name)) for name in gathered.axes),
            run.seed,
            *(run.metrics.get(name) for name in _SHOWN),
        ]
        for run in gathered.runs
    ]
    return head, rows


def _settings(groups: Sequence[Group]) -> Table:
    head = ["settings", "n"]
    for name in _SHOWN:
        head += [name, f"{name}/std"]
    rows = [[group.words, len(group.runs), *_means(group)] for group in groups]
    return head, rows


def _means(group: Group) -> list[float | None]:
    summaries = (group.choice, group.test, group.degradation)
    return [value for one in summaries for value in (one.mean, one.std)]


def _best(groups: Iterable[Group]) -> dict[str, Any]:
    """Return the best setting; with several networks or data sets, that of the first, as they are not comparable."""
    for group in groups:
        numbers = zip((f"best/{name}" for name in _SHOWN), _means(group)[::2], strict=True)
        found = {name: value for name, value in numbers if value is not None}
        return {"best/settings": group.words, "best/command": group.first.command, **found}
    return {}


def _cell(value: Any) -> str | float | None:
    """Return a value of a type that is consistent within a column: numbers stay numbers."""
    return value if value is None or (isinstance(value, int | float) and not isinstance(value, bool)) else str(value)
