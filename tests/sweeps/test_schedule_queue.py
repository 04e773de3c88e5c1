"""The scheduler with a launcher that has a queue: it gets everything at once and keeps what waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.progress import Clock
from ternlab.sweeps.schedule import submit
from tests.sweeps.made import write_status
from tests.sweeps.scheduler_world import Queue, World, world

__all__ = ["world"]


@pytest.fixture
def queued(world: World) -> World:
    world.launcher = Queue(world.runs, lambda: world.time)
    return world


def test_a_queue_gets_everything_at_once_and_trials_behind_their_baselines(queued: World) -> None:
    progress = queued.go()
    queue = queued.launcher
    assert isinstance(queue, Queue)
    assert progress.done == set(queued.plan.configs)
    assert len(queue.submitted) == 6
    assert {task.run_id: task.after for task in queue.submitted} == {
        **dict.fromkeys(queued.plan.baselines, ()),
        **{trial.run_id: (trial.baseline,) for trial in queued.plan.trials},
    }


def test_trials_of_a_baseline_that_is_retried_in_a_queue_wait_again_without_a_try(queued: World) -> None:
    bad = queued.name("none", 0)
    queued.launcher.endings = {bad: [("failed", ExitCode.FAILED)]}
    progress = queued.go(retries=1)
    assert progress.done == set(queued.plan.configs)
    assert not progress.failed
    assert progress.tries[queued.name("tga", 0)] == 1
    assert progress.tries[bad] == 2
    # They still have their own retry.
    again = World(queued.runs / "again")
    again.launcher = Queue(again.runs, lambda: again.time)
    again.launcher.endings = {
        again.name("none", 0): [("failed", ExitCode.FAILED)],
        again.name("tga", 0): [("failed", ExitCode.FAILED)],
    }
    assert again.go(retries=1).done == set(again.plan.configs)


def test_trials_of_a_baseline_that_fails_for_good_in_a_queue_fail_with_it(queued: World) -> None:
    bad = queued.name("none", 0)
    queued.launcher.endings = {bad: [("failed", ExitCode.FAILED)] * 2}
    progress = queued.go(retries=1)
    assert progress.failed == dict.fromkeys([bad, queued.name("tga", 0), queued.name("twn", 0)], ExitCode.FAILED)
    assert not {queued.name("tga", 0), queued.name("twn", 0)} & set(queued.launcher.started)
    assert not progress.waiting


def test_runs_that_an_earlier_launcher_has_queued_are_not_queued_twice_and_keep_their_retries(queued: World) -> None:
    queue = queued.launcher
    assert isinstance(queue, Queue)
    run, other = queued.name("none", 0), queued.name("none", 1)
    queue.had = [run, other]
    queue.started_at = dict.fromkeys(queue.had, 1.0)
    queue.endings = {run: [("running", -9)], other: [("failed", ExitCode.FAILED)] * 2}
    progress = queued.go(retries=1)
    assert queue.started.count(run) == 1
    assert run in progress.done
    assert progress.failed[other] == ExitCode.FAILED
    assert queue.started.count(other) == 1


def test_a_run_that_was_stopped_early_is_not_started_and_one_that_still_runs_is_stopped_again(queued: World) -> None:
    queue = queued.launcher
    assert isinstance(queue, Queue)
    running, resting = queued.name("tga", 0), queued.name("twn", 1)
    write_status(queued.runs, resting, "interrupted")
    queue.had = [running]
    queue.started_at = {running: 500.0}
    queued.plan = replace(queued.plan, pruned=frozenset({running, resting}))
    progress = queued.go()
    assert queued.time < 100, "it was waited for"
    assert progress.pruned == {running, resting}
    assert progress.done == set(queued.plan.configs) - {running, resting}
    assert not progress.failed
    assert not {running, resting} & set(queue.started)


def test_a_plan_is_handed_over_to_a_queue_and_nothing_is_waited_for(queued: World) -> None:
    write_status(queued.runs, queued.name("twn", 1), "finished")
    progress = submit(
        queued.plan, queued.runs / "plan.json", queued.runs, queued.launcher, look=queued.looks.append, clock=Clock()
    )
    assert queued.time == 0
    assert len(progress.running) == 5
    assert not progress.waiting
    assert progress.done == {queued.name("twn", 1)}
    assert queued.looks[-1].running == progress.running


def test_what_a_full_queue_does_not_take_is_left_waiting(queued: World) -> None:
    queued.launcher.workers = 3
    progress = submit(queued.plan, queued.runs / "plan.json", queued.runs, queued.launcher, look=queued.looks.append)
    assert (len(progress.running), len(progress.waiting)) == (3, 3)


def test_what_the_queue_has_not_taken_still_waits_when_all_is_handed_over(queued: World) -> None:
    left = queued.name("tga", 0)
    queued.launcher.unsent = lambda: [left]  # type: ignore[method-assign]
    progress = submit(queued.plan, queued.runs / "plan.json", queued.runs, queued.launcher, look=queued.looks.append)
    assert progress.waiting == [left]
    assert left not in progress.running
