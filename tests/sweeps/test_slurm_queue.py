"""What squeue says, and does not say, of jobs that run, end, are stopped or stuck."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode, InfrastructureError
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.on_slurm.commands import Answer
from ternlab.sweeps.on_slurm.control import cancel, in_queue
from tests.sweeps.fake_slurm import FAILS, FULL, GONE
from tests.sweeps.made import write_status
from tests.sweeps.slurm_world import World, with_baseline


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_listing_that_leaves_a_job_out_is_not_believed_at_once(world: World) -> None:
    launcher, *_ = with_baseline(world)
    for _ in range(3):
        world.slurm.faults["squeue"] = [Answer(0, "")]
        world.slurm.seconds.update(dict.fromkeys(world.plan.configs, 1000))
        world.slurm.jobs[0].ends = 1000
        world.slurm.time += 3
        assert launcher.ended() == []
        world.slurm.time += 3
        assert launcher.ended() == []


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "TIMEOUT", "BOOT_FAIL"])
def test_a_job_that_is_about_to_be_requeued_has_not_ended(world: World, state: str) -> None:
    launcher, baseline, _ = with_baseline(world)
    for _ in range(3):
        for now in (state, "PENDING", "RUNNING"):
            job = world.slurm.jobs[0]
            job.state, job.ends, job.held = now, world.slurm.time + 100, "yes"
            world.slurm.time += 5
            assert launcher.ended() == []
    job.state = state
    world.slurm.time += 5
    assert launcher.ended() == []
    world.slurm.time += 5
    assert dict(launcher.ended())[baseline] == ExitCode.INTERRUPTED


def test_a_record_may_be_seen_later_than_the_end_of_its_job(world: World) -> None:
    run = str(world.plan.trials[0].baseline)
    world.slurm.endings[run] = [(None, None, "COMPLETED")]
    launcher, *_ = with_baseline(world)
    for _ in range(5):
        world.slurm.time += 10
        assert (run, 0) not in launcher.ended()
    write_status(world.runs, run, "finished")
    world.slurm.time += 3
    assert (run, 0) in launcher.ended()


def test_a_job_that_squeue_has_forgotten_is_judged_by_what_it_wrote(world: World) -> None:
    world.slurm.forget = -1
    failed, gone = world.name("tga", 0), world.name("twn", 1)
    world.slurm.endings = {failed: [FAILS], gone: [("running", None, "FAILED")]}
    progress = world.go(retries=0)
    assert progress.failed == {failed: ExitCode.FAILED, gone: ExitCode.INTERRUPTED}


def test_the_accounting_is_asked_last(world: World) -> None:
    world.slurm.forget = -1
    run = world.name("tga", 0)
    world.slurm.endings = {run: [("running", None, "FAILED")]}
    world.slurm.sacct = {f"{job}_{index}": "FAILED" for job in range(41, 44) for index in range(2)}
    assert world.go(retries=0).failed == {run: ExitCode.FAILED}


def test_an_old_exit_record_says_nothing_of_a_later_try(world: World) -> None:
    run = world.name("tga", 0)
    world.slurm.endings[run] = [("failed", 6, "FAILED")]
    assert world.go(retries=0).failed == {run: ExitCode.STORAGE}
    world.slurm.endings[run] = [("running", None, "TIMEOUT")]
    assert world.go(retries=0).failed == {run: ExitCode.INTERRUPTED}


def test_squeue_may_fail_for_some_minutes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    launcher = world.launcher()
    launcher.running()
    run = world.plan.baselines[0]
    world.slurm.seconds[run] = 590
    launcher.start([Task(run, world.folder / "plan.json")])
    world.slurm.faults["squeue"] = [GONE] * 1000
    with caplog.at_level(logging.WARNING):
        for _ in range(580):
            world.slurm.time += 1
            assert launcher.ended() == []
    assert caplog.text.count("Unable to contact") == 1
    # Seldom.
    assert 50 <= len([call for call in world.slurm.calls if call[0] == "squeue"]) <= 60
    world.slurm.faults.clear()
    world.slurm.time += 15
    assert launcher.ended() == [(run, 0)]


def test_who_hears_nothing_for_ten_minutes_gives_up_unless_a_run_lives(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    launcher.start([Task(world.plan.baselines[0], world.folder / "plan.json")])
    world.slurm.faults["squeue"] = [GONE] * 1000
    alive = world.folder / "alive" / world.plan.baselines[0]
    alive.parent.mkdir()
    for number in range(100):
        alive.write_text(str(number))
        os.utime(alive, (number, number))
        world.slurm.time += 20
        assert launcher.ended() == []

    def wait() -> None:
        for _ in range(40):
            world.slurm.time += 20
            launcher.ended()

    with pytest.raises(InfrastructureError, match="10 minutes"):
        wait()


def test_runs_that_are_stopped_are_cancelled_and_not_requeued(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    first, second = world.plan.baselines
    launcher.start([Task(run, world.folder / "plan.json") for run in (first, second)])
    world.slurm.time += 0.5
    launcher.ended()
    launcher.stop_runs([first])
    assert [call for call in world.slurm.calls if call[0] in ("scontrol", "scancel")] == [
        ["scontrol", "update", "JobId=41_0", "Requeue=0"],
        ["scancel", "--quiet", "41_0"],
    ]
    world.slurm.time += 5
    assert sorted(launcher.ended()) == sorted([(first, ExitCode.INTERRUPTED), (second, 0)])


def test_a_run_that_does_not_stop_is_asked_again(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    run = world.plan.baselines[0]
    world.slurm.seconds[run] = 1000
    launcher.start([Task(run, world.folder / "plan.json")])
    world.slurm.faults["scancel"] = [GONE]
    launcher.stop_runs([run])
    world.slurm.time = 130
    assert launcher.ended() == []
    world.slurm.time = 140
    assert launcher.ended() == [(run, ExitCode.INTERRUPTED)]


def test_runs_that_slurm_has_not_taken_yet_are_stopped_too(world: World) -> None:
    world.slurm.faults["sbatch"] = [FULL] * 9
    launcher = world.launcher()
    launcher.running()
    run = world.plan.baselines[0]
    launcher.start([Task(run, world.folder / "plan.json")])
    assert launcher.free() == 0
    launcher.stop_runs([run])
    assert launcher.ended() == [(run, ExitCode.INTERRUPTED)]
    assert world.slurm.jobs == []


def test_the_queue_is_left_alone_when_the_launcher_stops(world: World) -> None:
    world.stop_at = 0.5
    world.go()
    assert len(world.slurm.live()) == 6
    assert not [call for call in world.slurm.calls if call[0] == "scancel"]


def test_from_another_terminal(world: World) -> None:
    world.stop_at = 0.5
    world.go()
    first, second = world.plan.baselines
    found = in_queue(world.folder, world.plan.sweep_id, world.slurm)
    assert found[first] == found[second] == "RUNNING"
    assert found[world.name("tga", 0)] == "PENDING (Dependency)"
    assert len(found) == 6
    assert cancel(world.folder, world.plan.sweep_id, world.slurm) == 6
    assert in_queue(world.folder, world.plan.sweep_id, world.slurm) == {}
    assert cancel(world.folder, world.plan.sweep_id, world.slurm) == 0
    assert in_queue(world.folder / "other", world.plan.sweep_id, world.slurm) == {}
    world.stop_at = float("inf")
    assert world.go().done == set(world.plan.configs)


def test_jobs_of_the_same_sweep_in_another_folder_are_not_ours(world: World, tmp_path: Path) -> None:
    world.stop_at = 0.5
    world.go()
    (tmp_path / "elsewhere").mkdir()
    other = World(tmp_path / "elsewhere")
    other.slurm = world.slurm
    assert other.plan.sweep_id == world.plan.sweep_id
    assert other.launcher().running() == []
    assert cancel(other.folder, other.plan.sweep_id, other.slurm) == 0


@pytest.mark.parametrize("reason", ["launch failed requeued held", "launch_failed_requeued_held", "JobHeldAdmin"])
def test_a_job_that_slurm_holds_is_told_of_once(world: World, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    launcher = world.launcher()
    launcher.running()
    runs = world.plan.baselines
    launcher.start([Task(run, world.folder / "plan.json") for run in runs])
    for job in world.slurm.jobs:
        job.state, job.held, job.reason = "PENDING", "yes", reason
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            world.slurm.time += 10
            assert launcher.ended() == []
    assert caplog.text.count("scontrol release 41_0") == 1
    assert caplog.text.count("scontrol release") == 1


@pytest.mark.parametrize("reason", ["Priority", "Resources", "BeginTime", "QOSMaxJobsPerUserLimit", "Dependency"])
def test_a_job_that_waits_its_turn_is_not_spoken_of(
    world: World, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    launcher = world.launcher()
    launcher.running()
    launcher.start([Task(world.plan.baselines[0], world.folder / "plan.json")])
    world.slurm.jobs[0].held, world.slurm.jobs[0].reason = "yes", reason
    with caplog.at_level(logging.WARNING):
        world.slurm.time += 10
        launcher.ended()
    assert caplog.text == ""


def test_a_batch_that_cannot_be_read_does_not_stop_the_sweep(world: World, caplog: pytest.LogCaptureFixture) -> None:
    (world.folder / "slurm").mkdir()
    (world.folder / "slurm" / "0123.json").write_text("{")
    write_status(world.runs, world.plan.baselines[0], "finished")
    assert world.go().done == set(world.plan.configs)
    assert "0123.json" in caplog.text
