"""The whole life of a sweep on SLURM, with a SLURM that is a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.launcher import Task
from tests.sweeps.fake_slurm import FAILS
from tests.sweeps.made import names, plan_with_depth
from tests.sweeps.slurm_world import World, with_baseline


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_all_is_handed_over_at_once_and_each_run_begins_once(world: World) -> None:
    progress = world.go()
    assert progress.done == set(world.plan.configs)
    assert sorted(world.slurm.begun) == sorted(world.plan.configs)
    assert set(world.slurm.begun[:2]) == set(world.plan.baselines)
    # Both baselines, and the trials of each.
    assert [text.count("--dependency") for text in world.slurm.scripts] == [0, 1, 1]
    assert "#SBATCH --dependency=afterok:41_0\n" in world.slurm.scripts[1]
    assert "#SBATCH --dependency=afterok:41_1\n" in world.slurm.scripts[2]
    assert all("#SBATCH --kill-on-invalid-dep=yes\n" in text for text in world.slurm.scripts[1:])
    assert world.files() == []


def test_the_job_is_named_after_the_sweep_and_its_batch(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    launcher.start([Task(world.plan.trials[0].run_id, world.folder / "plan.json")])
    (job,) = world.slurm.jobs
    assert job.name == f"{world.plan.sweep_id}.{job.batch.stem}"
    assert job.batch.parent == world.folder / "slurm"


def test_a_baseline_that_fails_takes_its_trials_along_and_no_others(world: World) -> None:
    baseline = world.plan.trials[0].baseline
    assert baseline is not None
    world.slurm.endings[baseline] = [FAILS, FAILS]
    progress = world.go(retries=1)
    lost = {trial.run_id for trial in world.plan.trials if trial.baseline == baseline}
    assert set(progress.failed) == {baseline, *lost}
    assert progress.done == set(world.plan.configs) - set(progress.failed)
    assert world.slurm.begun.count(baseline) == 2
    assert not lost & set(world.slurm.begun)


def test_a_baseline_that_fails_once_is_tried_again_and_so_its_trials_are_trained(world: World) -> None:
    baseline = str(world.plan.trials[0].baseline)
    world.slurm.endings[baseline] = [FAILS]
    assert world.go(retries=1).done == set(world.plan.configs)
    assert world.slurm.begun.count(baseline) == 2


def test_a_trial_that_never_began_is_told_of_after_its_baseline(world: World) -> None:
    world.slurm.endings[str(world.plan.trials[0].baseline)] = [FAILS]
    launcher, baseline, trial = with_baseline(world)
    world.slurm.time += 5
    assert launcher.ended() == [(baseline, ExitCode.FAILED), (trial, ExitCode.HELD)]


def test_a_trial_that_never_began_waits_until_its_baseline_is_known_to_have_failed(world: World) -> None:
    launcher, baseline, trial = with_baseline(world)
    before, after = world.slurm.jobs
    before.state, before.held = "COMPLETING", "yes"
    after.state, after.reason = "CANCELLED", "DependencyNeverSatisfied"
    world.slurm.time += 5
    assert launcher.ended() == []
    before.state = "FAILED"
    world.slurm.time += 5
    assert launcher.ended() == [(baseline, ExitCode.FAILED), (trial, ExitCode.HELD)]


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (("failed", 1, "FAILED"), ExitCode.FAILED),
        (("failed", 6, "FAILED"), ExitCode.STORAGE),
        (("diverged", 4, "FAILED"), ExitCode.DIVERGED),
        # Killed by a signal, or for its memory, or with its node.
        (("running", -9, "FAILED"), -9),
        (("running", None, "OUT_OF_MEMORY"), ExitCode.FAILED),
        (("running", None, "NODE_FAIL"), ExitCode.INTERRUPTED),
        (("interrupted", None, "TIMEOUT"), ExitCode.INTERRUPTED),
        (("interrupted", 5, "FAILED"), ExitCode.INTERRUPTED),
        # It says that it ended well, but there is no result.
        ((None, None, "COMPLETED"), ExitCode.FAILED),
    ],
)
def test_the_end_of_a_run_has_its_code(world: World, ending: Any, code: int) -> None:
    run = world.name("tga", 0)
    world.slurm.endings[run] = [ending]
    progress = world.go(retries=0)
    assert progress.failed == {run: code}
    assert world.slurm.begun.count(run) == 1


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "COMPLETED", "FAILED"])
def test_a_finished_record_counts_more_than_what_slurm_says(world: World, state: str) -> None:
    run = world.name("tga", 0)
    world.slurm.endings[run] = [("finished", None, state)]
    assert world.go(retries=0).done == set(world.plan.configs)


def test_what_a_job_said_before_python_is_kept_with_what_the_run_said(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    bad, good = world.plan.baselines
    world.slurm.endings[bad] = [FAILS]
    launcher.start([Task(run, world.folder / "plan.json") for run in (bad, good)])
    for index in range(2):
        (world.folder / "slurm" / f"41_{index}.txt").write_text("module: command not found\n")
    output = world.folder / "output" / f"{bad}.txt"
    output.parent.mkdir()
    output.write_text("before\n")
    world.slurm.time += 5
    assert dict(launcher.ended()) == {bad: 1, good: 0}
    assert output.read_text() == "before\nmodule: command not found\n"
    assert world.files() == ["exits", f"exits/{bad}.json", "output", f"output/{bad}.txt", "slurm"]


def test_what_would_be_done_is_told_and_not_done(world: World) -> None:
    tasks = [Task(run, world.folder / "plan.json") for run in world.plan.baselines]
    tasks += [Task(trial.run_id, world.folder / "plan.json", (str(trial.baseline),)) for trial in world.plan.trials]
    text = "\n".join(world.launcher().describe(tasks))
    assert text.count("array of 2 runs") == 3
    assert text.count("#!/bin/bash") == 2
    assert "--dependency=afterok:JOB_OF_THE_BASELINE" in text
    assert all(run in text for run in world.plan.configs)
    assert world.files() == []
    assert world.slurm.calls == []


@pytest.fixture
def deep(tmp_path: Path) -> World:
    """A trial that needs a baseline, which needs two runs, which need one."""
    world = World(tmp_path)
    world.plan = plan_with_depth(world.runs)
    return world


def test_each_level_of_needs_is_an_array_that_waits_for_those_before(deep: World) -> None:
    run = names(deep.plan)
    progress = deep.go()
    assert progress.done == set(deep.plan.configs)
    begun = deep.slurm.begun
    assert [begun[0], *begun[3:]] == [run["root"], run["baseline"], run["trial"]]
    assert len(begun) == 5
    waits = [line for text in deep.slurm.scripts for line in text.splitlines() if "--dependency" in line]
    assert waits == [
        "#SBATCH --dependency=afterok:41_0",
        "#SBATCH --dependency=afterok:42_0:42_1",
        "#SBATCH --dependency=afterok:43_0",
    ]
    assert deep.files() == []


def test_a_run_far_below_that_fails_takes_all_above_it_along(deep: World) -> None:
    run = names(deep.plan)
    deep.slurm.endings[run["right"]] = [FAILS, FAILS]
    progress = deep.go(retries=1)
    assert progress.failed == dict.fromkeys([run["right"], run["baseline"], run["trial"]], ExitCode.FAILED)
    assert progress.done == {run["root"], run["left"]}
    assert not {run["baseline"], run["trial"]} & set(deep.slurm.begun)


def test_a_run_far_below_that_fails_once_is_tried_again_and_so_all_above_it_are_trained(deep: World) -> None:
    run = names(deep.plan)
    deep.slurm.endings[run["root"]] = [FAILS]
    progress = deep.go(retries=1)
    assert progress.done == set(deep.plan.configs)
    assert {role: progress.tries[name] for role, name in run.items()} == {**dict.fromkeys(run, 1), "root": 2}


def test_a_launcher_that_comes_later_finds_all_levels_in_the_queue(deep: World) -> None:
    deep.stop_at = 0.5
    run = names(deep.plan)
    deep.slurm.seconds[run["root"]] = 5
    deep.go()
    assert len(deep.slurm.jobs) == 5
    deep.stop_at = float("inf")
    assert deep.go().done == set(deep.plan.configs)
    assert len(deep.slurm.jobs) == 5


def test_a_queue_with_little_room_gets_the_levels_one_after_another(tmp_path: Path) -> None:
    deep = World(tmp_path)
    deep.plan = plan_with_depth(deep.runs)
    deep.slurm.limit = 2
    assert deep.go().done == set(deep.plan.configs)
    assert len(deep.slurm.begun) == 5


def test_what_would_be_done_names_the_roles_of_what_is_waited_for(deep: World) -> None:
    tasks = [Task(run, deep.folder / "plan.json", tuple(deep.plan.needs.get(run, ()))) for run in deep.plan.run_ids]
    text = "\n".join(deep.launcher().describe(tasks))
    run = names(deep.plan)
    assert "--dependency=afterok:JOB_OF_THE_LEFT:JOB_OF_THE_RIGHT" in text
    assert f"array of 1 run after {run['left']} and {run['right']}: {run['baseline']}" in text
    assert deep.slurm.calls == []
