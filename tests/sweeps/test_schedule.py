"""The whole life of a sweep with a launcher that starts nothing and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.runs.directory import run_directory
from ternlab.sweeps import schedule
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.progress import Clock, Progress
from ternlab.sweeps.schedule import _pause, carry_out, submit
from ternlab.sweeps.states import Standing, State
from ternlab.sweeps.table import failure_lines, status_lines, summary_line
from tests.sweeps.made import names, plan_of, plan_with_depth, write_status

# How a run ends: the status of its record and the exit code; a run that is not named here finishes.
Ending = tuple[str | None, int]
FINE: Ending = ("finished", 0)


@dataclass
class FakeLauncher:
    """Every run takes a second of the clock, and ends as `endings` say, one for each try."""

    runs: Path
    now: Callable[[], float]
    workers: int = 2
    endings: dict[str, list[Ending]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    most: int = 0
    stopped: bool = False
    name: str = "fake"
    queues: bool = False

    def __post_init__(self) -> None:
        self.started_at: dict[str, float] = {}

    def free(self) -> int:
        return self.workers - len(self.started_at)

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        return [task.run_id for task in tasks]

    def running(self) -> Sequence[str]:
        return ()

    def start(self, tasks: Sequence[Task]) -> None:
        assert len(tasks) <= self.free()
        for task in tasks:
            assert task.run_id not in self.started_at
            self.started.append(task.run_id)
            self.started_at[task.run_id] = self.now() + 1
        self.most = max(self.most, len(self.started_at))

    def stop_runs(self, runs: Iterable[str]) -> None:
        for run in runs:
            self.endings[run] = [("interrupted", ExitCode.INTERRUPTED)]
            self.started_at[run] = self.now()

    def tidy(self, finished: Iterable[str]) -> None:
        pass

    def unsent(self) -> Sequence[str]:
        return ()

    def ended(self) -> Sequence[tuple[str, int]]:
        over = [run for run, end in self.started_at.items() if end <= self.now()]
        return [(run, self._end(run)) for run in over]

    def stop(self) -> None:
        self.stopped = True
        for run in self.started_at:
            self.endings[run] = [("interrupted", ExitCode.INTERRUPTED)]
            self.started_at[run] = 0

    def close(self) -> None:
        pass

    def _end(self, run: str) -> int:
        del self.started_at[run]
        status, code = (self.endings.get(run) or [FINE]).pop(0)
        if status is not None:
            write_status(self.runs, run, status)
        return code


class World:
    """A plan of two quantized runs on each of two baselines, a launcher and a clock."""

    def __init__(self, runs: Path, *typed: str) -> None:
        self.runs = runs
        self.plan: Plan = plan_of(runs, *(typed or ("quant=tga,twn", "seed=0,1")))
        self.time = 0.0
        self.launcher = FakeLauncher(runs, lambda: self.time)
        self.looks: list[Progress] = []
        self.stop_at = float("inf")

    def name(self, rule: str, seed: int) -> str:
        (run,) = [run for run in self.plan.configs if f"-{rule}-s{seed}-" in run]
        return run

    def go(self, retries: int = 1) -> Progress:
        launcher: Launcher = self.launcher
        return carry_out(
            self.plan,
            self.runs / "plan.json",
            self.runs,
            launcher,
            retries=retries,
            asked_to_stop=lambda: self.time >= self.stop_at,
            look=self.looks.append,
            clock=Clock(lambda: self.time, self._sleep),
        )

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds
        assert self.time < 1000, "nothing ends this sweep"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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


class Queue(FakeLauncher):
    """Keeps tasks until what they wait for has ended, and gives those of a failed one back with HELD."""

    def __init__(self, runs: Path, now: Callable[[], float], workers: int = 100) -> None:
        super().__init__(runs, now, workers, queues=True)
        self.after: dict[str, tuple[str, ...]] = {}
        self.had: list[str] = []
        self.submitted: list[Task] = []

    def running(self) -> Sequence[str]:
        return self.had

    def start(self, tasks: Sequence[Task]) -> None:
        self.submitted += tasks
        for task in tasks:
            self.after[task.run_id] = task.after
            # What waits has no end yet.
            self.started_at[task.run_id] = float("inf") if task.after else self.now() + 1
        self.started += [task.run_id for task in tasks if not task.after]

    def ended(self) -> Sequence[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for run, code in super().ended():
            found.append((run, code))
            if code == 0:
                self._release(run)
            else:
                # Told before the needed run's own end, which is the harder order.
                found[:0] = [(one, int(ExitCode.HELD)) for one in self._drop(run)]
        return found

    def _behind(self, run: str) -> list[str]:
        return [one for one, after in self.after.items() if run in after and self.started_at.get(one) == float("inf")]

    def _release(self, run: str) -> None:
        for one in self._behind(run):
            if not any(need in self.started_at for need in self.after[one]):
                self.started_at[one] = self.now() + 1
                self.started.append(one)

    def _drop(self, run: str) -> list[str]:
        """Forget what can never begin, at any depth."""
        gone = []
        for one in self._behind(run):
            if self.started_at.pop(one, None) is not None:
                gone += [*self._drop(one), one]
        return gone


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


def test_a_run_that_was_stopped_early_is_trained_when_others_need_it_as_their_baseline(world: World) -> None:
    needed = world.name("none", 0)
    write_status(world.runs, needed, "interrupted")
    world.plan = replace(world.plan, pruned=frozenset({needed}))
    progress = world.go()
    assert progress.done == set(world.plan.configs)
    assert not progress.pruned


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


def test_what_the_queue_has_not_taken_still_waits_when_all_is_handed_over(queued: World) -> None:
    left = queued.name("tga", 0)
    queued.launcher.unsent = lambda: [left]  # type: ignore[method-assign]
    progress = submit(queued.plan, queued.runs / "plan.json", queued.runs, queued.launcher, look=queued.looks.append)
    assert progress.waiting == [left]
    assert left not in progress.running


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
