"""Every run is submitted once, though answers get lost and launchers are killed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import ExitCode, InfrastructureError
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.on_slurm import submit as slurm_submit
from ternlab.sweeps.on_slurm.commands import Answer
from tests.sweeps.fake_slurm import FULL, LOST, FakeSlurm
from tests.sweeps.made import write_status
from tests.sweeps.slurm_world import World, with_baseline


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Killed(BaseException):
    """The launcher was killed; nothing catches it."""


def test_a_trial_whose_baseline_is_gone_is_not_submitted(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    trial = world.plan.trials[0]
    task = Task(trial.run_id, world.folder / "plan.json", after=(str(trial.baseline),))
    write_status(world.runs, str(trial.baseline), "failed")
    launcher.start([task])
    assert launcher.ended() == [(trial.run_id, ExitCode.HELD)]
    assert world.slurm.jobs == []
    write_status(world.runs, str(trial.baseline), "finished")
    launcher.start([task])
    assert "--dependency" not in world.slurm.scripts[0]


def test_a_trial_is_kept_while_slurm_has_not_got_its_baseline(world: World) -> None:
    world.slurm.faults["sbatch"] = [FULL]
    launcher, baseline, trial = with_baseline(world)
    assert launcher.ended() == []
    assert world.slurm.jobs == []
    world.slurm.time += 31
    assert launcher.ended() == []
    assert [job.after for job in world.slurm.jobs] == [[], ["41_0"]]


@pytest.mark.parametrize("forget", [300.0, -1.0])
def test_the_launcher_dies_at_any_moment_and_the_same_command_ends_with_each_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: float
) -> None:
    """A kill before and after every step of every submission."""
    deaths = 0
    for step in range(1000):
        folder = tmp_path / str(step)
        folder.mkdir()
        world = World(folder)
        world.slurm.forget = forget
        with monkeypatch.context() as patch:
            dies = _dying_at(step, patch, world.slurm)
            try:
                world.go()
                assert not dies()
                break
            except Killed:
                deaths += 1
        progress = world.go()
        assert progress.done == set(world.plan.configs), step
        assert sorted(world.slurm.begun) == sorted(world.plan.configs), step
        assert world.files() == [], step
    # 3 submissions of: batch, script, sbatch, batch; before and after.
    assert deaths >= 24


def _dying_at(step: int, patch: pytest.MonkeyPatch, slurm: FakeSlurm) -> Callable[[], bool]:
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count > step:
            raise Killed

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            tick()
            result = function(*arguments)
            tick()
            return result

        return call

    for name in ("write_batch", "write_text", "remove_batch"):
        patch.setattr(slurm_submit, name, mortal(getattr(slurm_submit, name)))
    patch.setattr(FakeSlurm, "_sbatch", mortal(slurm._sbatch))
    patch.setattr(FakeSlurm, "_sbatch", lambda self, words, call=FakeSlurm._sbatch: call(words))
    return lambda: count > step


def test_who_is_killed_while_jobs_run_finds_them_again(world: World) -> None:
    world.stop_at = 1.5
    world.go()
    before = len(world.slurm.jobs)
    assert world.slurm.live()
    world.stop_at = float("inf")
    launcher = world.launcher()
    assert set(launcher.running()) == set(world.plan.configs) - set(world.slurm.begun[:2])
    assert world.go().done == set(world.plan.configs)
    assert len(world.slurm.jobs) == before
    assert sorted(world.slurm.begun) == sorted(world.plan.configs)


def _accepted_but_lost(slurm: FakeSlurm) -> Callable[[Any], Answer]:
    def call(words: Any) -> Answer:
        slurm.answer(words)
        return LOST

    return call


def test_an_answer_that_is_lost_is_looked_for_in_the_queue(world: World) -> None:
    world.slurm.faults["sbatch"] = [_accepted_but_lost(world.slurm)]
    assert world.go().done == set(world.plan.configs)
    assert len({job.id for job in world.slurm.jobs}) == 3
    assert sorted(world.slurm.begun) == sorted(world.plan.configs)


@pytest.mark.parametrize("answer", [LOST, Answer(None, err="sbatch did not end"), Answer(0, ""), Answer(0, "job 7\n")])
def test_what_slurm_has_not_heard_is_said_again(world: World, answer: Answer) -> None:
    world.slurm.faults["sbatch"] = [answer, answer]
    assert world.go().done == set(world.plan.configs)
    assert sorted(world.slurm.begun) == sorted(world.plan.configs)
    assert world.files() == []


def test_words_around_the_answer_do_not_matter(world: World) -> None:
    def talks(words: Any) -> Answer:
        answer = world.slurm.answer(words)
        return Answer(0, f"Welcome! You have job 99 of 100\n{answer.out}Goodbye, job 3\n", "sbatch: note")

    world.slurm.faults["sbatch"] = [talks]
    assert world.go().done == set(world.plan.configs)
    assert "afterok:41_0" in world.slurm.scripts[1]


def test_a_submission_that_comes_late_trains_nothing(world: World) -> None:
    late: list[Any] = []

    def later(words: Any) -> Answer:
        late.append((words, Path(words[-1]).read_text()))
        return LOST

    world.slurm.faults["sbatch"] = [later]
    launcher = world.launcher()
    launcher.running()
    runs = list(world.plan.baselines)
    launcher.start([Task(run, world.folder / "plan.json") for run in runs])
    (words, text) = late[0]
    Path(words[-1]).write_text(text)
    world.slurm.answer(words)
    world.slurm.time += 5
    assert dict(launcher.ended()) == dict.fromkeys(runs, 0)
    assert sorted(world.slurm.begun) == sorted(runs)
    assert [job.state for job in world.slurm.jobs] == ["COMPLETED"] * 2 + ["FAILED"] * 2


def test_who_never_gets_an_answer_gives_up_and_leaves_nothing(world: World) -> None:
    world.slurm.faults["sbatch"] = [LOST] * 50
    with pytest.raises(InfrastructureError, match=r"Socket timed out.*5 tries"):
        world.go()
    assert world.slurm.jobs == []
    assert world.files() == ["slurm"]


def test_what_slurm_refuses_ends_the_command_with_its_words(world: World) -> None:
    world.slurm.faults["sbatch"] = [Answer(1, err="sbatch: error: Batch job submission failed: Invalid qos\n")]
    with pytest.raises(InfrastructureError, match="Invalid qos"):
        world.go()


def test_arrays_are_cut_at_the_largest_that_slurm_takes(world: World) -> None:
    world.slurm.largest = 1
    assert world.go().done == set(world.plan.configs)
    assert len(world.slurm.scripts) == 6


def test_only_so_many_are_in_the_queue(tmp_path: Path) -> None:
    world = World(tmp_path, queue_limit=2)
    most = 0
    sbatch = world.slurm._sbatch

    def counting(words: list[str]) -> Answer:
        nonlocal most
        answer = sbatch(words)
        most = max(most, len(world.slurm.live()))
        return answer

    world.slurm._sbatch = counting  # type: ignore[method-assign]
    assert world.go().done == set(world.plan.configs)
    assert most == 2


@pytest.mark.parametrize("limit", [1, 3])
def test_what_slurm_does_not_take_now_is_offered_again(
    world: World, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    world.slurm.limit = limit
    with caplog.at_level(logging.WARNING):
        assert world.go().done == set(world.plan.configs)
    assert sorted(world.slurm.begun) == sorted(world.plan.configs)
    assert "SLURM accepts no more jobs" in caplog.text
    assert world.files() == []


def test_who_leaves_says_what_slurm_has_not_got(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.slurm.faults["sbatch"] = [FULL] * 9
    launcher = world.launcher()
    launcher.running()
    launcher.start([Task(run, world.folder / "plan.json") for run in world.plan.baselines])
    launcher.close()
    assert "2 runs were not submitted" in caplog.text
    # The file of a submission that was refused would entitle nobody.
    assert world.files() == []


def test_a_search_gets_no_more_room_than_runs_at_a_time(tmp_path: Path) -> None:
    world = World(tmp_path, array_parallelism=3)
    assert world.launcher().free() > 1000
    world.plan = replace(world.plan, search={"settings": {}})
    launcher = world.launcher()
    launcher.running()
    assert launcher.free() == 3
    launcher.start([Task(run, world.folder / "plan.json") for run in world.plan.baselines])
    assert launcher.free() == 1
