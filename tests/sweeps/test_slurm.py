"""The whole life of a sweep on SLURM, with a SLURM that is a dictionary."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ternlab.errors import ExitCode, InfrastructureError
from ternlab.settings.sweep import SlurmCluster
from ternlab.sweeps import slurm_submit
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.schedule import Progress, carry_out
from ternlab.sweeps.slurm import SlurmLauncher
from ternlab.sweeps.slurm_commands import Answer
from ternlab.sweeps.slurm_control import cancel, in_queue
from tests.sweeps.fake_slurm import FAILS, FULL, GONE, LOST, FakeSlurm
from tests.sweeps.made import plan_of, write_status


class Killed(BaseException):
    """The launcher was killed; nothing catches it."""


class World:
    """A plan of four quantized runs on two baselines, and a cluster."""

    def __init__(self, folder: Path, **cluster: Any) -> None:
        self.runs = folder / "runs"
        self.folder = folder / "sweep"
        self.folder.mkdir()
        self.plan = plan_of(self.runs, "quant=tga,twn", "seed=0,1")
        self.slurm = FakeSlurm(self.runs)
        self.cluster = SlurmCluster(**cluster)
        self.stop_at = float("inf")

    def launcher(self) -> SlurmLauncher:
        return SlurmLauncher(self.folder, self.plan, self.cluster, self.slurm.largest, self.slurm, self.slurm.clock())

    def go(self, retries: int = 1) -> Progress:
        launcher: Launcher = self.launcher()
        progress = carry_out(
            self.plan,
            self.folder / "plan.json",
            self.runs,
            launcher,
            retries=retries,
            asked_to_stop=lambda: self.slurm.time >= self.stop_at,
            look=lambda progress: None,
            clock=self.slurm.clock(),
        )
        launcher.tidy(progress.done)
        launcher.close()
        return progress

    def name(self, rule: str, seed: int) -> str:
        (run,) = [run for run in self.plan.configs if f"-{rule}-s{seed}-" in run]
        return run

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


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


def with_baseline(world: World) -> tuple[SlurmLauncher, str, str]:
    """Submit a trial and its baseline; return both."""
    launcher = world.launcher()
    launcher.running()
    trial = world.plan.trials[0]
    baseline = str(trial.baseline)
    plan = world.folder / "plan.json"
    launcher.start([Task(trial.run_id, plan, after=baseline), Task(baseline, plan)])
    return launcher, baseline, trial.run_id


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


def test_a_trial_whose_baseline_is_gone_is_not_submitted(world: World) -> None:
    launcher = world.launcher()
    launcher.running()
    trial = world.plan.trials[0]
    task = Task(trial.run_id, world.folder / "plan.json", after=trial.baseline)
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
    assert [job.after for job in world.slurm.jobs] == [None, "41_0"]


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
    assert "SLURM takes no more jobs" in caplog.text
    assert world.files() == []


def test_who_leaves_says_what_slurm_has_not_got(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.slurm.faults["sbatch"] = [FULL] * 9
    launcher = world.launcher()
    launcher.running()
    launcher.start([Task(run, world.folder / "plan.json") for run in world.plan.baselines])
    launcher.close()
    assert "2 runs have not been submitted" in caplog.text
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
    tasks += [Task(trial.run_id, world.folder / "plan.json", trial.baseline) for trial in world.plan.trials]
    text = "\n".join(world.launcher().describe(tasks))
    assert text.count("an array of 2 runs") == 3
    assert text.count("#!/bin/bash") == 2
    assert "--dependency=afterok:JOB_OF_THE_BASELINE" in text
    assert all(run in text for run in world.plan.configs)
    assert world.files() == []
    assert world.slurm.calls == []


def test_a_batch_that_cannot_be_read_does_not_stop_the_sweep(world: World, caplog: pytest.LogCaptureFixture) -> None:
    (world.folder / "slurm").mkdir()
    (world.folder / "slurm" / "0123.json").write_text("{")
    write_status(world.runs, world.plan.baselines[0], "finished")
    assert world.go().done == set(world.plan.configs)
    assert "0123.json" in caplog.text
