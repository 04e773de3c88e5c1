"""The W&B run of a sweep: its numbers are those of the records, and it is never in the way of the sweep."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ternlab.loggers.wandb.heat_map import heat_map_picture
from ternlab.loggers.wandb.sweep_summary import SweepSummary, send_summary, summarize_sweep, summary_of_sweep
from ternlab.reports.load_runs import gather
from ternlab.runs.directory import run_directory
from ternlab.sweeps.plan import Plan
from tests.loggers.made import made_sweep
from tests.loggers.offline_files import records, summary
from tests.loggers.server import LoopbackWandb, Mode


def summarized(plan: Plan, runs: Path) -> SweepSummary:
    """Return the summary of a sweep from its records."""
    return summary_of_sweep(gather(runs, plan=plan))


def rows(table: tuple[list[str], list[list[Any]]]) -> list[dict[str, Any]]:
    """Return a table as a list of rows."""
    return [dict(zip(table[0], row, strict=True)) for row in table[1]]


def test_trials_have_the_numbers_of_their_records(tmp_path: Path) -> None:
    plan, runs, _ = made_sweep(tmp_path)
    found = {row["run"]: row for row in rows(summarized(plan, runs).tables["trials"])}
    assert set(found) == {*plan.baselines, *(trial.run_id for trial in plan.trials)}
    for trial in plan.trials:
        row, metrics = found[trial.run_id], (run_directory(runs, trial.run_id).record() or {})["metrics"]
        assert row["seed"] == trial.point["seed"]
        for name in ("quant.threshold.init", "optim.lr"):
            assert row[name] == trial.point[name]
        for name in ("val/top1", "test/top1", "degradation/top1"):
            assert row[name] == metrics.get(name)
    assert found[plan.trials[0].run_id]["state"] == "failed"
    assert found[plan.baselines[0]]["state"] == "waiting (baseline)"


def test_means_are_over_the_seeds(tmp_path: Path) -> None:
    plan, runs, _ = made_sweep(tmp_path)
    found = {row["settings"]: row for row in rows(summarized(plan, runs).tables["settings"])}
    assert len(found) == 6
    values: dict[str, list[float]] = {}
    for trial in plan.trials[1:]:
        metrics = (run_directory(runs, trial.run_id).record() or {})["metrics"]
        values.setdefault(trial.setting, []).append(metrics["degradation/top1"])
    for words, degradations in values.items():
        assert found[words]["n"] == len(degradations)
        assert found[words]["degradation/top1"] == pytest.approx(statistics.fmean(degradations), abs=1e-12)
        if len(degradations) > 1:
            assert found[words]["degradation/top1/std"] == pytest.approx(statistics.stdev(degradations))


def test_the_best_is_chosen_by_validation(tmp_path: Path) -> None:
    plan, runs, _ = made_sweep(tmp_path)
    found = summarized(plan, runs)
    best = max(rows(found.tables["settings"]), key=lambda row: row["val/top1"])
    assert found.summary["best/settings"] == best["settings"]
    assert found.summary["best/degradation/top1"] == best["degradation/top1"]
    assert found.summary["trials/failed"] == 1
    assert found.summary["trials/finished"] == 11


def test_the_picture_is_darker_where_more_is_lost(tmp_path: Path) -> None:
    plan, runs, _ = made_sweep(tmp_path)
    heat = summarized(plan, runs).heat
    assert heat is not None
    assert (heat.y, heat.x, len(heat.cells)) == ("quant.threshold.init", "optim.lr", 6)
    picture = heat_map_picture(heat)
    cells = {(130 + 104 * x, 70 + 60 * y): y for x in range(3) for y in range(2)}
    colours = {y: [picture.getpixel(at) for at, row in cells.items() if row == y] for y in range(2)}
    # The lower row is the threshold that loses more; red stays, green and blue go.
    assert all(low[1] < high[1] for low in colours[1] for high in colours[0])  # type: ignore[index]


def test_a_sweep_over_one_setting_has_no_picture(tmp_path: Path) -> None:
    plan, runs, _ = made_sweep(tmp_path)
    one = [trial for trial in plan.trials if trial.point["optim.lr"] == 0.1]
    assert summarized(Plan(**{**vars(plan), "trials": tuple(one)}), runs).heat is None


@pytest.mark.usefixtures("logged_out")
def test_offline_it_can_be_looked_at_without_wandb(tmp_path: Path) -> None:
    plan, runs, sweep = made_sweep(tmp_path)
    summarize_sweep(plan, runs, sweep)
    (found,) = records(sweep)
    (run,) = (record["run"] for record in found if record["type"] == "run")
    assert (run["run_id"], run["run_group"], run["job_type"]) == (plan.sweep_id, plan.sweep_id, "sweep")
    assert summary(found)["best/val/top1"] == 79.65
    (picture,) = sweep.glob("wandb/offline-run-*/files/media/images/heat_map*.png")
    assert Image.open(picture).size[0] >= 560
    (table,) = sweep.glob("wandb/offline-run-*/files/media/table/trials*.json")
    assert len(json.loads(table.read_text())["data"]) == len(plan.trials) + len(plan.baselines)


def test_it_is_sent_once(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    plan, runs, sweep = made_sweep(tmp_path)
    assert send_summary(plan, runs, sweep)
    stored = wandb_server.run(plan.sweep_id)
    assert (stored.fields["groupName"], stored.fields["jobType"]) == (plan.sweep_id, "sweep")
    assert stored.summary["best/command"] == "python src/train.py"
    assert any(name.startswith("media/images/heat_map") for name in wandb_server.files)
    assert any(name.startswith("media/table/trials") for name in wandb_server.files)
    assert not send_summary(plan, runs, sweep)
    assert len(stored.lines) == 1
    assert wandb_server.unknown == []


def test_trouble_ends_in_a_warning(
    wandb_server: LoopbackWandb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, runs, sweep = made_sweep(tmp_path)
    wandb_server.mode = Mode.UNAUTHORIZED
    summarize_sweep(plan, runs, sweep)
    (warning,) = [record.message for record in caplog.records if record.name.startswith("ternlab")]
    assert f"ternlab wandb sync --sweep {sweep}" in warning


def test_a_sweep_without_wandb_sends_nothing(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    plan, runs, sweep = made_sweep(tmp_path, "logger.project=other")
    local = {run: {**config, "logger": {"name": "local"}} for run, config in plan.configs.items()}
    summarize_sweep(Plan(**{**vars(plan), "configs": local}), runs, sweep)
    assert wandb_server.calls == []
