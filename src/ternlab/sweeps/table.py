"""Tables of a sweep: states, results and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ternlab.core.errors import ExitCode
from ternlab.core.roles import BASELINE
from ternlab.core.statistics import Summary, summary
from ternlab.core.text import aligned
from ternlab.metrics.registry import DEGRADATION, TEST, VAL, lower_is_better
from ternlab.sweeps.folder import last_words, output_file
from ternlab.sweeps.plan import Plan, Trial, by_setting
from ternlab.sweeps.states import Standing, State, standing

# Trials of one setting, with the metrics of their records.
Members = list[tuple[Trial, dict[str, Any]]]


def look(plan: Plan, runs: Path) -> list[Standing]:
    """Return the state of every run of the plan, needed runs first."""
    return [standing(runs, run, plan.pruned) for run in plan.run_ids]


def status_lines(plan: Plan, found: Iterable[Standing]) -> list[str]:
    """Return a table with one row per run: state, epoch, validation accuracy, degradation."""
    words = words_of(plan)
    rows = [("run", "state", "epoch", VAL, "degradation", "settings")]
    return aligned([*rows, *(cells(one, words[one.run_id]) for one in found)])


def words_of(plan: Plan) -> dict[str, str]:
    """Return the description of each run in a table: the point of a trial, the role of a needed run."""
    return {**plan.roles, **{trial.run_id: _words(trial.point) for trial in plan.trials}}


def cells(one: Standing, words: str) -> tuple[str, ...]:
    """Return the row of a run: id, state, epoch, validation accuracy, degradation, settings.

    Args:
        one: its state.
        words: see `words_of`.
    """
    metrics = (one.record or {}).get("metrics") or {}
    return (
        one.run_id,
        str(one.state),
        f"{one.epoch}/{one.epochs}" if one.epochs else "",
        _number(one.last.get(VAL)),
        _number(metrics.get(DEGRADATION), sign=True),
        words,
    )


def summary_line(plan: Plan, found: Iterable[Standing]) -> str:
    """Return the number of runs in each state, in one line."""
    counts = Counter(one.state for one in found)
    said = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    return f"{plan.sweep_id}: {count_words(plan)} ({said})"


def count_words(plan: Plan) -> str:
    """Return the number of trials of a plan, and of needed runs by role, as text."""
    roles = Counter({BASELINE: 0, **Counter(plan.roles.values())})
    return ", ".join([f"{len(plan.trials)} trials", *(f"{count} {role}s" for role, count in roles.items())])


def result_lines(plan: Plan, runs: Path) -> list[str]:
    """Return the settings with their means over seeds, least degradation first, and the command of the best setting.

    Only settings whose seeds are all finished are shown, since others are not comparable. The best setting is chosen by
    a validation metric (`Plan.metric`), never by the test metrics shown.
    """
    settings = by_setting(plan.trials)
    groups = {words: found for words, trials in settings.items() if (found := _finished(trials, runs))}
    if not groups:
        return ["no setting has finished with all its seeds" if plan.trials else "there are no trials"]
    # Full-precision runs have no degradation and come first.
    order = sorted(groups.items(), key=lambda entry: (_mean(entry[1], DEGRADATION), -_mean(entry[1], TEST)))
    names = (VAL, TEST, DEGRADATION)
    rows = [("settings", "n", *(column for name in names for column in (name, "std")))]
    for words, members in order:
        row = [words or "(all)", str(len(members))]
        for name in names:
            over_seeds = _over_seeds(members, name)
            row += [_number(over_seeds.mean), _number(over_seeds.std)]
        rows.append(tuple(row))
    left_out = len(settings) - len(groups)
    lines = aligned(rows)
    if left_out:
        lines.append(f"not shown: {left_out} settings that were pruned, failed or are not finished")
    return [*lines, "", *_best_lines(groups.values(), plan.metric)]


def _finished(trials: list[Trial], runs: Path) -> Members:
    """Return the trials of a setting with their metrics; empty if one of them is not finished."""
    found = [(trial, standing(runs, trial.run_id)) for trial in trials]
    if not all(one.state == State.FINISHED for _, one in found):
        return []
    return [(trial, one.record["metrics"]) for trial, one in found if one.record]


def _best_lines(groups: Iterable[Members], metric: str) -> list[str]:
    known = [members for members in groups if _over_seeds(members, metric).n]
    if not known:
        return ["no best setting: choosing one needs validation images (data.val_fraction)"]
    way = -1 if lower_is_better(metric) else 1
    best = max(known, key=lambda members: way * _mean(members, metric))
    return [f"best setting by mean {metric} over seeds; one of its runs:", f"  {best[0][0].command}"]


def failure_lines(plan: Plan, runs: Path, sweep: Path, failed: dict[str, int]) -> list[str]:
    """Return a table of the failed runs: kind of failure, error message, log file.

    Args:
        plan: the sweep's plan.
        runs: folder of the runs.
        sweep: the sweep's folder; holds the output of runs that failed to start.
        failed: their exit codes.
    """
    about = words_of(plan)
    rows = [("failed run", "failure", "settings", "error", "log")]
    for run, code in failed.items():
        need, role = next(((need, role) for need, role in plan.needs.get(run, {}).items() if need in failed), ("", ""))
        if need and not output_file(sweep, run).is_file():
            words, log = f"its {role} {need} failed", runs / need / "log.txt"
        else:
            words, log = _last_words(runs / run, sweep)
        rows.append((run, _class(code), about.get(run, ""), words, str(log)))
    return aligned(rows) if failed else []


def _last_words(run: Path, sweep: Path) -> tuple[str, Path]:
    """Return why a run ended, in one line, and the file with the details."""
    log = run / "log.txt" if (run / "log.txt").is_file() else output_file(sweep, run.name)
    record = standing(run.parent, run.name).record or {}
    said = ((record.get("error") or {}).get("message") or "").splitlines()[:1]
    return (said[0] if said else last_words(sweep, run.name))[:80], log


def _class(code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}"
    try:
        return ExitCode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"exit code {code}"


def _words(point: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in point.items())


def _over_seeds(members: Members, name: str) -> Summary:
    return summary([metrics[name] for _, metrics in members if metrics.get(name) is not None])


def _mean(members: Members, name: str) -> float:
    """Return the mean to sort by: minus infinity without values."""
    mean = _over_seeds(members, name).mean
    return float("-inf") if mean is None else mean


def _number(value: Any, *, sign: bool = False) -> str:
    if value is None or value == "":
        return ""
    return f"{float(value):+.2f}" if sign else f"{float(value):.2f}"
