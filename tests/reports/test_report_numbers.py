"""Groups, Pareto front and heat maps of a report, against scipy and by trying all pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ternlab.reports.load_runs import Run, differing_names, gather
from ternlab.reports.page.chart_data import beside_one_another
from ternlab.reports.seed_groups import best_of, groups_of, heat_maps, pareto_front
from ternlab.reports.series import best_runs
from ternlab.sweeps.plan import plan_file, read_plan
from tests.reports.made_runs import make_run
from tests.sweeps.made import plan_of, write_status


def run_of(recipe: str, seed: int, degradation: float, *, size: float = 100.0, val: float = 50.0, **more: Any) -> Run:
    """Return a finished run of TGA on the digits."""
    numbers = {"degradation/top1": degradation, "val/top1": val, "size/quantized_bytes": size}
    values: dict[str, Any] = {"run_id": f"{recipe}-{seed}", "state": "finished", "data": "digits", "model": "resnet20"}
    values |= {"quant": "tga", "seed": seed, "metrics": numbers, "settings": {"optim.lr": recipe}, "recipe": recipe}
    return Run(**{**values, "baseline": None, "command": "", "error": "", "path": Path("runs"), **more})


def test_interval_is_that_of_scipy() -> None:
    values = [1.5, -0.25, 3.0, 0.75]
    (group,) = groups_of([run_of("a", seed, value) for seed, value in enumerate(values)], ())
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (group.degradation.low, group.degradation.high) == pytest.approx((low, high))
    assert group.degradation.mean == pytest.approx(np.mean(values))


def test_the_interval_of_degradation_is_that_of_paired_differences(tmp_path: Path) -> None:
    # Seeds differ a lot and the pairs do not: the interval is narrow.
    baseline, quantized = [90.0, 95.0, 80.0], [89.0, 93.9, 79.1]
    for seed, (full, own) in enumerate(zip(baseline, quantized, strict=True)):
        make_run(tmp_path, {"degradation/top1": full - own, "test/top1": own}, quant__name="tga", seed=seed)
    (group,) = groups_of(gather(tmp_path).runs, ())
    paired = scipy.stats.ttest_rel(baseline, quantized).confidence_interval(0.95)
    assert (group.degradation.low, group.degradation.high) == pytest.approx((paired.low, paired.high))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(-5, 5)), min_size=1, max_size=12))
def test_pareto_front_has_what_nothing_beats(found: list[tuple[int, int]]) -> None:
    runs = [run_of(str(place), 0, float(loss), size=float(size)) for place, (size, loss) in enumerate(found)]
    front = pareto_front(groups_of(runs, ()))

    def beaten(place: int) -> bool:
        size, loss = found[place]
        return any(s <= size and d <= loss and (s, d) != (size, loss) for s, d in found)

    assert {found[int(key)] for key in front} == {point for place, point in enumerate(found) if not beaten(place)}
    # Of equal ones, one is enough.
    assert len(front) == len({found[int(key)] for key in front})


def test_best_is_by_validation_and_for_each_network_and_data() -> None:
    runs = [run_of("a", 0, 1.0, val=80.0), run_of("b", 0, 0.5, val=70.0), run_of("c", 0, 3.0, model="resnet32")]
    best = best_of(groups_of(runs, ()))
    assert {kind: group.key for kind, group in best.items()} == {
        ("digits", "resnet20"): "a",
        ("digits", "resnet32"): "c",
    }


def test_diverged_and_running_runs_are_in_no_mean() -> None:
    runs = [run_of("a", 0, 1.0), run_of("a", 1, 99.0, state="diverged"), run_of("a", 2, 99.0, state="running")]
    (group,) = groups_of(runs, ())
    assert (group.degradation.n, group.degradation.mean) == (1, 1.0)


def test_runs_of_one_size_stand_beside_one_another_and_not_in_the_order_of_their_loss() -> None:
    runs = [run_of(name, 0, loss) for name, loss in (("b", 0.0), ("c", 1.0), ("a", 2.0))]
    moved = beside_one_another(groups_of(runs, ["optim.lr"]))
    assert sorted(moved, key=lambda key: moved[key]) == ["a", "b", "c"]
    assert all(0.85 < factor < 1.15 for factor in moved.values())
    assert moved["b"] == 1.0


def test_best_runs_take_turns_over_the_settings() -> None:
    runs = [run_of("good", seed, 0.0, val=90.0) for seed in range(5)] + [run_of("bad", 0, 5.0, val=50.0)]
    chosen = [run.run_id for run in best_runs(groups_of(runs, ()), runs, 3)]
    assert chosen == ["good-0", "bad-0", "good-1"]


def test_other_settings_make_maps_of_their_own(tmp_path: Path) -> None:
    for decay in (0.0, 0.001):
        for init in (0.05, 0.1):
            for lr in (0.1, 0.2):
                changes = {"quant__threshold__init": init, "optim__lr": lr, "optim__weight_decay": decay}
                make_run(tmp_path, {"degradation/top1": decay}, quant__name="tga", **changes)
    found = gather(tmp_path)
    maps = heat_maps(groups_of(found.runs, found.axes), found.axes)
    assert [(one.words, len(one.cells)) for one in maps] == [
        ("optim.weight_decay=0", 4),
        ("optim.weight_decay=0.001", 4),
    ]
    assert {cell.group.degradation.mean for cell in maps[1].cells} == {0.001}


def test_options_of_other_rules_do_not_tell_settings_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, {"degradation/top1": 1.0}, quant__name="tga", seed=seed)
        make_run(tmp_path, {"degradation/top1": 2.0}, quant__name="twn", seed=seed)
    found = gather(tmp_path)
    assert differing_names(found.runs) == ()
    assert [group.words for group in groups_of(found.runs, found.axes)] == ["quant=tga", "quant=twn"]


def test_a_sweep_has_its_runs_its_axes_and_those_that_wait(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plan = plan_of(runs, "quant=tga", "optim.lr=0.1,0.2", "seed=0,1")
    for trial in plan.trials[:2]:
        write_status(runs, trial.run_id, "finished", seed=trial.point["seed"], quant="tga")
    make_run(runs, {"degradation/top1": 0.0}, quant__name="sws")
    failed = plan.trials[3].run_id
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / f"{failed}.txt").write_text("Traceback:\n  at x\nRuntimeError: no memory\n\n")
    found = gather(runs, plan=plan, sweep_folder=tmp_path)
    states = {run.run_id: run.state for run in found.runs}
    assert states == {
        **dict.fromkeys(plan.baselines, "waiting"),
        **{trial.run_id: "finished" for trial in plan.trials[:2]},
        plan.trials[2].run_id: "waiting",
        failed: "failed",
    }
    assert found.axes == ("optim.lr",)
    (last,) = [run for run in found.runs if run.run_id == failed]
    assert last.error == "RuntimeError: no memory"


def test_the_plan_on_disk_is_what_the_report_reads(tmp_path: Path) -> None:
    from ternlab.sweeps.plan import write_plan

    plan = plan_of(tmp_path / "runs", "optim.lr=0.1,0.2")
    write_plan(plan, tmp_path)
    (tmp_path / "runs").mkdir()
    found = gather(tmp_path / "runs", plan=read_plan(plan_file(tmp_path)), sweep_folder=tmp_path)
    assert {run.run_id for run in found.runs} == {*plan.baselines, *(trial.run_id for trial in plan.trials)}
