"""Groups of runs that differ in nothing but the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scipy import stats

from ternlab.reports.run_index import read_runs
from ternlab.reports.schema import differing, free_settings, recipe, setting_names
from ternlab.reports.seed_table import over_seeds, repeated_seeds
from tests.reports.made_runs import make_run


def grouped(runs: Path, *metrics: str) -> list[dict[str, object]]:
    return over_seeds(read_runs(runs, settings=True), metrics or ("test/top1",)).to_dicts()


def test_a_group_has_mean_deviation_and_interval(tmp_path: Path) -> None:
    values = [90.0, 91.5, 92.0]
    for seed, value in enumerate(values):
        make_run(tmp_path, {"test/top1": value}, quant__name="tga", seed=seed)
    (row,) = grouped(tmp_path, "test/top1", "val/top1")
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert (row["n"], row["seeds"], row["quant"]) == (3, "0,1,2", "tga")
    assert row["test/top1/n"] == 3
    assert row["test/top1/mean"] == pytest.approx(sum(values) / 3)
    assert row["test/top1/std"] == pytest.approx(stats.tstd(values))
    assert (row["test/top1/low"], row["test/top1/high"]) == (pytest.approx(low), pytest.approx(high))
    assert [row[f"val/top1/{part}"] for part in ("n", "mean", "std", "low", "high")] == [0, *[None] * 4]


def test_one_run_has_no_interval(tmp_path: Path) -> None:
    make_run(tmp_path, {"test/top1": 90.0})
    (row,) = grouped(tmp_path)
    assert [row[f"test/top1/{part}"] for part in ("n", "mean", "std", "low", "high")] == [1, 90.0, *[None] * 3]


@pytest.mark.parametrize(
    "change",
    [
        {"optim__lr": 0.125},
        {"data__batch_size": 64},
        {"quant__threshold": {"init": 0.1}},
        {"baseline__overrides": ["optim.lr=0.1"]},
        {"data__root": "/elsewhere"},
    ],
)
def test_another_setting_is_another_group(tmp_path: Path, change: dict[str, object]) -> None:
    make_run(tmp_path, quant__name="tga", seed=0)
    directory = make_run(tmp_path, quant__name="tga", seed=1, **change)
    assert len(grouped(tmp_path)) == 2, directory


@pytest.mark.parametrize(
    "change", [{"trainer__threads": 3}, {"paths__data": "/elsewhere"}, {"logger__project": "x"}, {"tags": ["a"]}]
)
def test_what_cannot_change_a_result_makes_no_group(tmp_path: Path, change: dict[str, object]) -> None:
    make_run(tmp_path, quant__name="tga", seed=0)
    make_run(tmp_path, quant__name="tga", seed=1, **change)
    assert [row["n"] for row in grouped(tmp_path)] == [2]


def test_a_run_of_before_a_setting_was_added_is_in_the_group(tmp_path: Path) -> None:
    make_run(tmp_path, quant__name="tga", seed=0)
    old = make_run(tmp_path, quant__name="tga", seed=1)
    config = yaml.safe_load(old.config_file.read_text())
    del config["optim"]["label_smoothing"], config["quant"]["surrogate"]
    old.config_file.write_text(yaml.safe_dump(config))
    assert [row["n"] for row in grouped(tmp_path)] == [2]


def test_baselines_that_were_typed_differ_by_their_recipe(tmp_path: Path) -> None:
    for lr in (0.02, 0.125):
        for seed in (0, 1):
            baseline = make_run(tmp_path, seed=seed, optim__lr=lr)
            typed = {"quant__name": "tga", "baseline__run": baseline.run_id}
            make_run(tmp_path, seed=seed, record__baseline_run_id=baseline.run_id, **typed)
    found = [(row["quant"], row["n"]) for row in grouped(tmp_path)]
    assert sorted(found) == [("none", 2), ("none", 2), ("tga", 2), ("tga", 2)]


def test_only_what_tells_groups_of_a_rule_apart_is_a_column(tmp_path: Path) -> None:
    for lr in (0.02, 0.125):
        make_run(tmp_path, quant__name="tga", optim__lr=lr)
    make_run(tmp_path, quant__name="twn")
    rows = grouped(tmp_path)
    assert "optim.lr" in rows[0] and not [name for name in rows[0] if name.startswith("quant.")]
    # A default is shown like any other value.
    assert sorted(row["optim.lr"] for row in rows if row["quant"] == "tga") == [0.02, 0.125]


def test_other_columns_are_null_where_they_differ(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, seed=seed, record__host={"name": f"host{seed}"})
    (row,) = over_seeds(read_runs(tmp_path, settings=True), ["test/top1"], ["host", "started"]).to_dicts()
    assert (row["host"], row["started"]) == (None, "2026-01-02T03:04:05+0000")


def test_a_seed_twice_is_told(tmp_path: Path) -> None:
    directory = make_run(tmp_path, seed=1)
    assert repeated_seeds(over_seeds(read_runs(tmp_path, settings=True), ["test/top1"])) == 0
    directory.path.rename(tmp_path / "copy")
    make_run(tmp_path, seed=1)
    assert repeated_seeds(over_seeds(read_runs(tmp_path, settings=True), ["test/top1"])) == 1


def test_no_runs(tmp_path: Path) -> None:
    assert grouped(tmp_path) == []


def test_unreadable_settings_are_a_group_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1, 2):
        make_run(tmp_path, seed=seed)
    make_run(tmp_path, seed=3).config_file.unlink()
    make_run(tmp_path, seed=4).config_file.unlink()
    assert sorted(row["n"] for row in grouped(tmp_path)) == [1, 1, 3]
    assert capsys.readouterr().err.count("config.yaml") == 2


def test_free_settings_are_those_outside_of_the_identity() -> None:
    assert {
        "paths",
        "logger",
        "checkpoint",
        "force",
        "tags",
        "plugins",
        "trainer.devices",
        "data.root",
    } <= free_settings()
    assert not {"optim.lr", "seed", "quant.init", "trainer.precision", "baseline.run"} & free_settings()
    assert {"optim.lr", "quant.threshold.init", "quant.factor", "data.name"} <= setting_names()


def test_full_precision_has_no_quantization_in_its_recipe() -> None:
    assert recipe({"quant.name": "none", "quant.first_last": "full", "baseline.overrides": ["a"], "seed": 3}) == {}
    assert differing({"quant.name": "none", "optim.lr": 0.5, "mine.own": 1}) == {"optim.lr": 0.5, "mine.own": 1}
