"""Loads the runs of a report: their settings, metrics and states, from records and from a sweep's plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ternlab.core.errors import SettingsError
from ternlab.quantizers.plan import FULL_PRECISION
from ternlab.reports.columns import flat_settings, with_columns
from ternlab.reports.conditions import parse_condition
from ternlab.reports.run_index import Warn, read_runs, warn_on_stderr
from ternlab.reports.run_rows import Flat, flat
from ternlab.reports.schema import as_key, is_free, recipes
from ternlab.runs.directory import run_directory
from ternlab.settings.quant import quant_settings
from ternlab.sweeps.folder import last_words, output_file
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.states import State

# A run's settings that are columns of their own, or say nothing of it.
_NOT_IN_WORDS = ("seed", "quant.name", "model.name", "data.name", "baseline.run")


_FACTS = ("epochs", "seconds", "started", "finished", "starts_from", "host", "cpu", "log")


@dataclass(frozen=True)
class Run:
    """One run, as shown in a report.

    Attributes:
        run_id: ID of the run.
        state: one of `State`; `interrupted` where a record says so.
        data, model, quant: names; `quant` is `none` in full precision.
        seed: `None` if neither the record nor the settings contain it.
        metrics: metrics of the record.
        settings: by dotted names; empty where they are not readable.
        recipe: key of the runs that are repeats of one another: the same settings but the seed.
        baseline: ID of the full-precision baseline.
        command: the command that trains only this run.
        error: last error message of a failed run.
        path: its folder.
        facts: other columns of the record (epochs, seconds, started, host, cpu).
        point: what the sweep chose for it; `None` outside of a sweep and for its baselines.
    """

    run_id: str
    state: str
    data: str
    model: str
    quant: str
    seed: int | None
    metrics: Mapping[str, float]
    settings: Flat
    recipe: str
    baseline: str | None
    command: str
    error: str
    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    point: Mapping[str, Any] | None = None

    @property
    def quantized(self) -> bool:
        """Whether it is a quantized run."""
        return self.quant != FULL_PRECISION

    @property
    def finished(self) -> bool:
        """Whether its numbers are final."""
        return self.state == State.FINISHED


@dataclass(frozen=True)
class Gathered:
    """The runs of a report.

    Attributes:
        runs: by ID.
        source: description of where they were found.
        axes: settings in which the runs differ, the sweep's first.
        sweep: id of the sweep, or `None`.
        where: the conditions, or `None`.
    """

    runs: tuple[Run, ...]
    source: str
    axes: tuple[str, ...]
    sweep: str | None = None
    where: str | None = None


def gather(
    folder: Path,
    *,
    plan: Plan | None = None,
    sweep_folder: Path | None = None,
    where: str | None = None,
    warn: Warn = warn_on_stderr,
) -> Gathered:
    """Read the runs below `folder`, or of one sweep.

    Args:
        folder: folder of the runs.
        plan: plan of the sweep; `None` takes all runs.
        sweep_folder: folder of the sweep; holds the output of runs that failed to start.
        where: conditions as `ternlab results --where` takes them.
        warn: called for each unreadable record.

    Raises:
        SettingsError: there is no such folder, or `where` is not understood.
    """
    rows = _rows(folder, where, warn)
    if plan is not None:
        rows = _of_plan(rows, plan, not where, sweep_folder)
    settings = {row["run_id"]: row["settings"] for row in rows}
    keys = recipes(settings, {row["run_id"]: row["baseline_run_id"] for row in rows})
    points = {trial.run_id: trial.point for trial in plan.trials} if plan else {}
    runs = tuple(_run(row, keys[row["run_id"]], folder, points) for row in sorted(rows, key=lambda row: row["run_id"]))
    source = f"sweep {plan.sweep_id}" if plan else f"all runs in {folder}"
    axes = tuple(dict.fromkeys(name for point in points.values() for name in point if name != "seed"))
    return Gathered(runs, source, axes or differing_names(runs), plan.sweep_id if plan else None, where)


def differing_names(runs: Iterable[Run]) -> tuple[str, ...]:
    """Return the settings in which quantized runs of the same data, network and rule differ, without the seed."""
    values: dict[tuple[str, ...], dict[str, set[str]]] = {}
    present: dict[tuple[str, ...], int] = {}
    for run in runs:
        if not run.quantized or not run.settings:
            continue
        kind = (run.data, run.model, run.quant)
        present[kind] = present.get(kind, 0) + 1
        seen = values.setdefault(kind, {})
        for name, value in run.settings.items():
            if name not in _NOT_IN_WORDS and not is_free(name):
                seen.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    return tuple(sorted({name for seen in values.values() for name, found in seen.items() if len(found) > 1}))


def value_of(run: Run, name: str) -> Any:
    """Return the value of an axis: what the sweep chose, the name of the rule, network or data, or the setting."""
    key = name.lstrip("+")
    if run.point is not None and name in run.point:
        return run.point[name]
    if key in ("quant", "model", "data"):
        return getattr(run, key)
    return run.settings.get(key)


def _rows(folder: Path, where: str | None, warn: Warn) -> list[dict[str, Any]]:
    try:
        frame = read_runs(folder, settings=True, warn=warn)
    except SettingsError as error:
        raise error.about("paths.runs", "--runs") from None
    if where:
        frame = _fulfilling(frame, where)
    settings = flat_settings(frame)
    return [{**row, "settings": own} for row, own in zip(frame.iter_rows(named=True), settings, strict=True)]


def _fulfilling(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return the runs that fulfil a condition, and their baselines, which they are compared with."""
    condition = parse_condition(where, "where")
    found = condition.keep(with_columns(frame, condition.names(), "where"))["run_id"].to_list()
    chosen = frame.filter(pl.col("run_id").is_in(found))
    baselines = chosen["baseline_run_id"].drop_nulls().to_list()
    return frame.filter(pl.col("run_id").is_in([*found, *baselines]))


def _of_plan(
    rows: Sequence[dict[str, Any]], plan: Plan, with_waiting: bool, folder: Path | None
) -> list[dict[str, Any]]:
    """Return the rows of the plan's runs; those that have no record yet are `waiting`, or failed before they began."""
    ids = plan.run_ids
    # A baseline that was typed is no run of the plan, but the trials are compared with it.
    wanted = {*ids, *(trial.baseline for trial in plan.trials)}
    known = {row["run_id"]: row for row in rows if row["run_id"] in wanted}
    for run, row in known.items():
        if not row["settings"] and run in plan.configs:
            row["settings"] = flat(plan.configs[run])
    if with_waiting:
        commands = {trial.run_id: trial.command for trial in plan.trials}
        twins = {trial.run_id: trial.baseline for trial in plan.trials}
        for run in ids:
            if run not in known:
                known[run] = _planned(run, plan.configs[run], commands.get(run, ""), twins.get(run), folder)
    return [{**row, "status": State.PRUNED} if row["run_id"] in plan.pruned else row for row in known.values()]


def _planned(
    run: str, config: Mapping[str, Any], command: str, baseline: str | None, folder: Path | None
) -> dict[str, Any]:
    settings = flat(config)
    words = last_words(folder, run) if folder else ""
    return {
        "run_id": run,
        "status": str(State.FAILED if words else State.WAITING),
        "data": settings.get("data.name"),
        "model": settings.get("model.name"),
        "quant": _planned_label(config.get("quant") or {}),
        "seed": settings.get("seed"),
        "baseline_run_id": baseline,
        "command": command,
        "error": words,
        "settings": settings,
        "log": str(output_file(folder, run)) if folder and words else None,
    }


def _planned_label(quant: Mapping[str, Any]) -> str:
    """Return the label that the record of a run will have; the rule's name where a plugin is not imported."""
    try:
        return quant_settings(quant).label
    except SettingsError:
        return str(quant.get("name") or FULL_PRECISION)


def _run(row: Mapping[str, Any], recipe: Flat, folder: Path, points: Mapping[str, Mapping[str, Any]]) -> Run:
    run = str(row["run_id"])
    names = {name: str(row.get(name) or "unknown") for name in ("data", "model", "quant")}
    # Settings that cannot be read say nothing of what a run is a repeat of.
    key = as_key({**recipe, **names}) if row["settings"] else run
    return Run(
        run_id=run,
        state=str(row.get("status") or "unknown"),
        **names,
        seed=row["seed"] if row.get("seed") is not None else row["settings"].get("seed"),
        metrics={name: value for name, value in row.items() if "/" in name and value is not None},
        settings=row["settings"],
        recipe=key,
        baseline=row.get("baseline_run_id"),
        command=str(row.get("command") or ""),
        error=str(row.get("error") or ""),
        path=run_directory(folder, run).path,
        facts={name: row.get(name) for name in _FACTS},
        point=points.get(run),
    )
