"""The scheduler where runs need others that need others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.schedule import submit
from ternlab.sweeps.states import Standing, State
from ternlab.sweeps.table import failure_lines, status_lines, summary_line
from tests.sweeps.made import names, plan_with_depth, write_status
from tests.sweeps.scheduler_world import Queue, World


@pytest.fixture
def deep(tmp_path: Path) -> World:
    """A trial that needs a baseline, which needs two runs, which need one."""
    world = World(tmp_path)
    world.plan = plan_with_depth(tmp_path)
    return world


def test_runs_are_started_after_all_that_they_need_at_any_depth(deep: World) -> None:
    run = names(deep.plan)
    progress = deep.go()
    started = deep.launcher.started
    assert progress.done == set(deep.plan.configs)
    assert [started[0], *started[3:]] == [run["root"], run["baseline"], run["trial"]]
    assert set(started[1:3]) == {run["left"], run["right"]}
    assert deep.launcher.most == 2


def test_a_needed_run_that_is_finished_lets_those_above_it_begin(deep: World) -> None:
    run = names(deep.plan)
    for role in ("root", "left"):
        write_status(deep.runs, run[role], "finished")
    deep.go()
    assert deep.launcher.started == [run["right"], run["baseline"], run["trial"]]


@pytest.mark.parametrize("queues", [False, True])
def test_a_needed_run_that_fails_takes_all_above_it_along_and_the_table_names_it(deep: World, queues: bool) -> None:
    if queues:
        deep.launcher = Queue(deep.runs, lambda: deep.time)
    run = names(deep.plan)
    deep.launcher.endings = {run["left"]: [("failed", ExitCode.FAILED)] * 2}
    progress = deep.go(retries=1)
    assert progress.failed == dict.fromkeys([run["left"], run["baseline"], run["trial"]], ExitCode.FAILED)
    assert progress.done == {run["root"], run["right"]}
    assert not {run["baseline"], run["trial"]} & set(deep.launcher.started)
    lines = failure_lines(deep.plan, deep.runs, deep.runs, progress.failed)
    (baseline,) = [line for line in lines if line.startswith(run["baseline"])]
    (trial,) = [line for line in lines if line.startswith(run["trial"])]
    assert f"its left {run['left']} failed" in baseline and str(deep.runs / run["left"] / "log.txt") in baseline
    assert f"its baseline {run['baseline']} failed" in trial


def test_a_queue_gets_all_levels_at_once(deep: World) -> None:
    deep.launcher = queue = Queue(deep.runs, lambda: deep.time)
    run = names(deep.plan)
    progress = deep.go()
    assert progress.done == set(deep.plan.configs)
    assert {task.run_id: set(task.after) for task in queue.submitted} == {
        run["root"]: set(),
        run["left"]: {run["root"]},
        run["right"]: {run["root"]},
        run["baseline"]: {run["left"], run["right"]},
        run["trial"]: {run["baseline"]},
    }
    assert len(queue.submitted) == 5
    again = submit(deep.plan, deep.runs / "plan.json", deep.runs, queue, look=deep.looks.append)
    assert (again.done, again.waiting) == (set(deep.plan.configs), [])


def test_all_levels_are_handed_over_without_waiting(deep: World) -> None:
    deep.launcher = queue = Queue(deep.runs, lambda: deep.time)
    progress = submit(deep.plan, deep.runs / "plan.json", deep.runs, queue, look=deep.looks.append)
    assert progress.running == set(deep.plan.configs)
    assert not progress.waiting


def test_what_is_above_a_run_that_is_retried_in_a_queue_waits_again_without_a_try(deep: World) -> None:
    deep.launcher = Queue(deep.runs, lambda: deep.time)
    run = names(deep.plan)
    deep.launcher.endings = {run["root"]: [("failed", ExitCode.FAILED)]}
    progress = deep.go(retries=1)
    assert progress.done == set(deep.plan.configs)
    assert {role: progress.tries[name] for role, name in run.items()} == {**dict.fromkeys(run, 1), "root": 2}


def test_the_tables_tell_what_a_run_is_to_others(deep: World) -> None:
    run = names(deep.plan)
    found = [Standing(name, State.WAITING, None, 0, 0, {}) for name in deep.plan.run_ids]
    assert "1 trials, 1 baselines, 1 roots, 1 lefts, 1 rights (5 waiting)" in summary_line(deep.plan, found)
    lines = {line.split()[0]: line.split()[-1] for line in status_lines(deep.plan, found)[1:]}
    assert {role: lines[name] for role, name in run.items() if role != "trial"} == {
        role: role for role in run if role != "trial"
    }
