"""Two sets of runs paired by seed and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from ternlab.core.errors import SettingsError
from ternlab.reports.pairs import Pairs, paired_runs
from ternlab.reports.run_index import read_runs
from tests.reports.made_runs import make_run


def pair(runs: Path, first: list[str], second: list[str], *varied: str) -> Pairs:
    return paired_runs(read_runs(runs, settings=True), first, second, varied)


def make_rule(runs: Path, rule: str, values: dict[int, float], **changes: object) -> list[str]:
    return [
        make_run(runs, {"test/top1": value}, quant__name=rule, seed=seed, **changes).run_id
        for seed, value in values.items()
    ]


def test_runs_are_paired_by_seed(tmp_path: Path) -> None:
    first = {0: 90.0, 1: 92.0, 2: 91.0, 5: 10.0}
    second = {1: 93.0, 2: 92.5, 0: 90.5, 7: 99.0}
    tga, sws = make_rule(tmp_path, "tga", first), make_rule(tmp_path, "sws", second)
    found = pair(tmp_path, tga, sws, "quant")
    assert sorted(found.seeds()) == [0, 1, 2] and found.unpaired == (1, 1) and found.recipes == 1
    mean_first, mean_second, difference = found.of("test/top1")
    expected = stats.ttest_rel([second[seed] for seed in range(3)], [first[seed] for seed in range(3)])
    interval = expected.confidence_interval(0.95)
    assert (mean_first.mean, mean_second.mean) == (pytest.approx(91), pytest.approx(92))
    assert difference.mean == pytest.approx(1)
    assert (difference.low, difference.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_a_missing_metric_leaves_the_pair_out(tmp_path: Path) -> None:
    tga, sws = make_rule(tmp_path, "tga", {0: 90.0, 1: 91.0}), make_rule(tmp_path, "sws", {0: 92.0})
    sws += [make_run(tmp_path, {}, quant__name="sws", seed=1).run_id]
    assert [found.n for found in pair(tmp_path, tga, sws, "quant.name").of("test/top1")] == [1, 1, 1]


def test_other_settings_must_be_equal(tmp_path: Path) -> None:
    tga = make_rule(tmp_path, "tga", {0: 90.0}, optim__lr=0.125) + make_rule(tmp_path, "tga", {0: 80.0})
    sws = make_rule(tmp_path, "sws", {0: 91.0}, optim__lr=0.125)
    found = pair(tmp_path, tga, sws, "quant")
    assert (found.first, found.unpaired) == ((tga[0],), (1, 0))
    with pytest.raises(SettingsError, match=r"also differ in optim\.lr"):
        pair(tmp_path, tga[1:], sws, "quant")
    assert pair(tmp_path, tga[1:], sws, "quant", "optim.lr").first == (tga[1],)


def test_several_runs_that_fit_one_partner_are_refused(tmp_path: Path) -> None:
    tga = [
        *make_rule(tmp_path, "tga", {0: 90.0}),
        *make_rule(tmp_path, "tga", {0: 80.0}, quant__threshold={"init": 0.2}),
    ]
    sws = make_rule(tmp_path, "sws", {0: 91.0})
    with pytest.raises(SettingsError, match=r"compare A.*quant\.threshold\.init"):
        pair(tmp_path, tga, sws, "quant")


def test_a_run_is_no_partner_of_itself(tmp_path: Path) -> None:
    runs = make_rule(tmp_path, "tga", {0: 90.0, 1: 91.0})
    with pytest.raises(SettingsError, match="match both"):
        pair(tmp_path, runs, runs, "quant")


def test_seeds_may_be_what_differs(tmp_path: Path) -> None:
    runs = make_rule(tmp_path, "tga", {0: 90.0, 1: 91.0})
    assert pair(tmp_path, runs[:1], runs[1:], "seed").of("test/top1")[2].mean == 1.0
    with pytest.raises(SettingsError, match="differ in seed"):
        pair(tmp_path, runs[:1], runs[1:], "quant")


def test_full_precision_against_a_rule(tmp_path: Path) -> None:
    tga = make_rule(tmp_path, "tga", {0: 90.0}, baseline__overrides=["optim.lr=0.1"])
    none = make_rule(tmp_path, "none", {0: 91.0})
    assert pair(tmp_path, none, tga, "quant").of("test/top1")[2].mean == -1.0


def test_pairs_of_several_settings_are_counted(tmp_path: Path) -> None:
    tga, sws = (
        [run for lr in (0.1, 0.2) for run in make_rule(tmp_path, rule, {0: 1.0, 1: 2.0}, optim__lr=lr)]
        for rule in ("tga", "sws")
    )
    found = pair(tmp_path, tga, sws, "quant")
    assert (len(found.first), found.recipes) == (4, 2)
