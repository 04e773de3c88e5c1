"""The scheduler with a launcher that runs a few tasks at a time: order, retries, held runs, stopping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.runs.directory import run_directory
from ternlab.sweeps import schedule
from ternlab.sweeps.schedule import _pause
from ternlab.sweeps.states import Standing, State
from tests.sweeps.made import write_status
from tests.sweeps.scheduler_world import Ending, FakeLauncher, World, world

__all__ = ["world"]


def test_baselines_go_first_every_run_once_and_no_more_at_a_time_than_fit(world: World) -> None:
    progress = world.go()
    assert sorted(world.launcher.started) == sorted(world.plan.configs)
    assert set(world.launcher.started[:2]) == set(world.plan.baselines)
    assert world.launcher.most == 2
    assert progress.done == set(world.plan.configs)
    assert not progress.failed
    assert world.time == pytest.approx(3, abs=0.5)


def test_a_trial_starts_as_soon_as_its_own_baseline_is_there(world: World) -> None:
    world.launcher.workers = 1
    world.go()
    # With one worker the order is that of the plan; a trial never goes before its baseline.
    place = world.launcher.started.index
    for trial in world.plan.trials:
        assert place(str(trial.baseline)) < place(trial.run_id)


def test_a_baseline_that_is_a_trial_goes_first_too(tmp_path: Path) -> None:
    world = World(tmp_path, "quant=tga,none", "seed=0")
    world.go()
    assert world.launcher.started == [world.name("none", 0), world.name("tga", 0)]


def test_finished_runs_are_not_started_again_and_diverged_ones_fail_at_once(world: World) -> None:
    write_status(world.runs, world.name("none", 0), "finished")
    write_status(world.runs, world.name("tga", 0), "finished")
    write_status(world.runs, world.name("none", 1), "diverged")
    write_status(world.runs, world.name("twn", 0), "interrupted")
    progress = world.go()
    assert world.launcher.started == [world.name("twn", 0)]
    assert progress.failed == dict.fromkeys(
        [world.name("none", 1), world.name("tga", 1), world.name("twn", 1)], ExitCode.DIVERGED
    )


def test_one_failed_trial_fails_alone(world: World) -> None:
    bad = world.name("tga", 1)
    world.launcher.endings = {bad: [("failed", ExitCode.FAILED)] * 2}
    progress = world.go()
    assert progress.failed == {bad: ExitCode.FAILED}
    assert progress.done == set(world.plan.configs) - {bad}
    assert world.launcher.started.count(bad) == 2


def test_trials_of_a_failed_baseline_fail_with_its_class_without_being_started(world: World) -> None:
    bad = world.name("none", 0)
    world.launcher.endings = {bad: [("diverged", ExitCode.DIVERGED)]}
    progress = world.go()
    assert progress.failed == dict.fromkeys([bad, world.name("tga", 0), world.name("twn", 0)], ExitCode.DIVERGED)
    assert sorted(world.launcher.started) == sorted([bad, *(world.name(rule, 1) for rule in ("none", "tga", "twn"))])


@pytest.mark.parametrize(
    ("ending", "again"),
    [
        (("failed", ExitCode.FAILED), True),
        (("interrupted", ExitCode.INTERRUPTED), True),
        # Killed by the kernel when memory ran out; the fork server died.
        (("running", -9), True),
        (("running", 255), True),
        # It says that all is well, and its record does not.
        (("running", 0), True),
        ((None, ExitCode.BAD_SETTINGS), False),
        (("diverged", ExitCode.DIVERGED), False),
        (("failed", ExitCode.STORAGE), False),
    ],
)
def test_retries_by_class(ending: Ending, again: bool, world: World) -> None:
    run = world.name("tga", 0)
    world.launcher.endings = {run: [ending]}
    progress = world.go()
    assert world.launcher.started.count(run) == 1 + again
    assert (run in progress.done) == again
    assert progress.failed == ({} if again else {run: ending[1]})


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_there_are_as_many_retries_as_wanted(retries: int, world: World) -> None:
    run = world.name("twn", 1)
    world.launcher.endings = {run: [("failed", ExitCode.FAILED)] * 10}
    progress = world.go(retries)
    assert world.launcher.started.count(run) == 1 + retries
    assert progress.failed == {run: ExitCode.FAILED}


def test_a_code_of_zero_without_a_finished_record_is_a_failure(world: World) -> None:
    run = world.name("tga", 0)
    world.launcher.endings = {run: [("running", 0)] * 5}
    assert world.go().failed == {run: ExitCode.FAILED}


def test_a_process_that_died_after_its_run_was_finished_has_finished_it(world: World) -> None:
    run = world.name("tga", 0)
    world.launcher.endings = {run: [("finished", -9)]}
    progress = world.go()
    assert run in progress.done
    assert world.launcher.started.count(run) == 1


def hold(world: World, monkeypatch: pytest.MonkeyPatch, run: str, until: float, then: str | None) -> list[float]:
    """Let another process hold a run until a time, and end it with a status; return when it was looked at."""
    looked: list[float] = []

    def look(runs: Path, name: str) -> Standing:
        found: Standing = real(runs, name)
        if name == run:
            looked.append(world.time)
            if world.time < until:
                return Standing(name, State.RUNNING, found.record, 0, 0, {})
            if then is not None and not looked_after:
                looked_after.append(True)
                write_status(runs, name, then)
                found = real(runs, name)
        return found

    looked_after: list[bool] = []
    real = schedule.standing
    monkeypatch.setattr(schedule, "standing", look)
    return looked


def test_a_run_that_another_process_finishes_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.name("tga", 0)
    looked = hold(world, monkeypatch, run, until=30, then="finished")
    progress = world.go(retries=0)
    assert progress.done == set(world.plan.configs)
    assert run not in world.launcher.started
    assert len(looked) < 40, "it is looked at once a second, not all the time"


def test_a_held_run_that_its_holder_leaves_is_started_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.name("none", 0)
    hold(world, monkeypatch, run, until=30, then="interrupted")
    progress = world.go(retries=0)
    assert progress.done == set(world.plan.configs)
    assert world.launcher.started.count(run) == 1
    # Its trials waited for it; the other ones did not.
    assert set(world.launcher.started[:3]) == {world.name(rule, 1) for rule in ("none", "tga", "twn")}


def test_a_held_run_that_diverges_elsewhere_has_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.name("none", 0)
    hold(world, monkeypatch, run, until=30, then="diverged")
    progress = world.go()
    assert progress.failed == dict.fromkeys([run, world.name("tga", 0), world.name("twn", 0)], ExitCode.DIVERGED)
    assert run not in world.launcher.started


def test_a_run_that_another_process_took_first_uses_up_no_retry(world: World) -> None:
    run = world.name("tga", 0)
    world.launcher.endings = {run: [(None, ExitCode.HELD)] * 5 + [("failed", ExitCode.FAILED)]}
    progress = world.go(retries=1)
    assert run in progress.done
    assert world.launcher.started.count(run) == 7


def test_asked_to_stop_it_starts_nothing_more_and_what_runs_may_save(world: World) -> None:
    world.stop_at = 1.5
    progress = world.go()
    assert world.launcher.stopped
    assert not world.launcher.started_at
    assert not progress.running
    assert progress.done == set(world.plan.baselines)
    assert len(world.launcher.started) == 4
    # What has saved goes on with the same command: it has not failed.
    assert not progress.failed
    world.stop_at = float("inf")
    assert world.go().done == set(world.plan.configs)


def test_a_stop_that_comes_before_the_first_run_starts_nothing(world: World) -> None:
    world.stop_at = 0
    world.go()
    assert world.launcher.started == []


def test_every_change_is_shown(world: World) -> None:
    world.go()
    assert len(world.looks) > 4
    assert world.looks[-1].done == set(world.plan.configs)


def test_a_run_that_is_stopped_again_and_again_goes_on_while_it_gets_further(world: World) -> None:
    run = world.name("tga", 0)
    checkpoints = run_directory(world.runs, run).checkpoints

    class GetsFurther(FakeLauncher):
        def ended(self) -> Sequence[tuple[str, int]]:
            found = super().ended()
            if (run, ExitCode.INTERRUPTED) in found:
                checkpoints.mkdir(parents=True, exist_ok=True)
                step = self.started.count(run)
                (checkpoints / f"step-{step:09d}.ckpt").touch()
                (checkpoints / f"step-{step:09d}.json").touch()
            return found

    world.launcher = GetsFurther(world.runs, lambda: world.time)
    world.launcher.endings[run] = [("interrupted", ExitCode.INTERRUPTED)] * 5
    assert world.go(retries=1).done == set(world.plan.configs)
    assert world.launcher.started.count(run) == 6


def test_a_run_that_is_stopped_again_and_again_at_one_step_fails(world: World) -> None:
    run = world.name("tga", 0)
    world.launcher.endings[run] = [("interrupted", ExitCode.INTERRUPTED)] * 5
    assert world.go(retries=1).failed == {run: ExitCode.INTERRUPTED}


def test_a_run_that_was_stopped_early_is_trained_when_others_need_it_as_their_baseline(world: World) -> None:
    needed = world.name("none", 0)
    write_status(world.runs, needed, "interrupted")
    world.plan = replace(world.plan, pruned=frozenset({needed}))
    progress = world.go()
    assert progress.done == set(world.plan.configs)
    assert not progress.pruned


def test_pauses_are_short_for_short_runs_and_long_when_nothing_happens_or_looking_is_dear() -> None:
    assert _pause(0, 0) == pytest.approx(0.05)
    assert _pause(3, 0) <= 0.1
    assert _pause(3600, 0) == 1
    for worked in (0.01, 0.05, 0.09):
        assert worked / (worked + _pause(0, worked)) <= 0.051
    assert _pause(0, 100) <= 5, "Ctrl-C is answered"


def test_ten_thousand_waiting_runs_are_not_looked_at_at_every_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def look(runs: Path, name: str) -> Standing:
        looked.append(name)
        return real(runs, name)

    real = schedule.standing
    monkeypatch.setattr(schedule, "standing", look)
    world.launcher.workers = 1
    world.go()
    # Once at the beginning, once before it is started, once after its end.
    assert len(looked) <= 3 * len(world.plan.configs)
