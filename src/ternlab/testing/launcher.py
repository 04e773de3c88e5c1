"""The contract of a sweep launcher, as tests to inherit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.plan import Plan


class LauncherContract:
    """Tests of a launcher with real runs.

    A subclass defines `make_launcher`, and `plan` if it has its own trials.

    Attributes:
        seconds: maximum duration of a run of the plan.
    """

    seconds = 120.0

    @pytest.fixture
    def make_launcher(self) -> Callable[[Path, Plan], Launcher]:
        """Return a function that creates a launcher from a sweep's folder and plan."""
        raise NotImplementedError

    @pytest.fixture
    def plan(self, tmp_path: Path) -> tuple[Plan, Path]:
        """Return a plan with at least two full-precision trials that take seconds each, and its file.

        The last trial takes longer than the tests wait, and saves a checkpoint at every step.
        """
        raise NotImplementedError

    @pytest.fixture
    def launcher(self, make_launcher: Callable[[Path, Plan], Launcher], plan: tuple[Plan, Path]) -> Iterator[Launcher]:
        """Return a launcher whose runs are stopped at the end of the test."""
        whole, file = plan
        launcher = make_launcher(file.parent, whole)
        assert list(launcher.running()) == []
        yield launcher
        launcher.stop()
        launcher.close()

    def test_it_says_what_it_would_do_and_does_nothing(self, launcher: Launcher, plan: tuple[Plan, Path]) -> None:
        """`describe` returns lines and does not change the folder."""
        whole, file = plan
        before = sorted(file.parent.rglob("*"))
        assert launcher.describe([Task(trial.run_id, file) for trial in whole.trials])
        assert sorted(file.parent.rglob("*")) == before

    def test_a_run_is_trained_and_its_end_told_once(self, launcher: Launcher, plan: tuple[Plan, Path]) -> None:
        """A task ends with code 0 and a finished record, and `tidy` removes its files."""
        whole, file = plan
        run = whole.trials[0].run_id
        free = launcher.free()
        assert free > 0
        launcher.start([Task(run, file)])
        assert launcher.free() < free or free > len(whole.trials)
        assert self._end_of(launcher, run) == ExitCode.DONE
        assert (_directory(whole, run).record() or {})["status"] == "finished"
        assert launcher.ended() == []
        launcher.tidy([run])
        assert not [path for path in file.parent.rglob("*") if run in path.name]

    def test_a_run_that_cannot_be_trained_fails_with_its_code(
        self, launcher: Launcher, plan: tuple[Plan, Path]
    ) -> None:
        """A task for which the plan has no settings ends by itself with a non-zero exit code."""
        _, file = plan
        launcher.start([Task("no-such-run", file)])
        assert self._end_of(launcher, "no-such-run") != ExitCode.DONE

    def test_a_run_that_is_asked_to_stop_saves_and_goes_on_later(
        self, launcher: Launcher, plan: tuple[Plan, Path]
    ) -> None:
        """`stop_runs` ends the given runs, and no others, with INTERRUPTED and a checkpoint."""
        whole, file = plan
        run = whole.trials[-1].run_id
        directory = _directory(whole, run)
        launcher.start([Task(run, file)])
        self._wait(lambda: list(directory.checkpoints.glob("*.json")))
        launcher.stop_runs([run])
        assert self._end_of(launcher, run) == ExitCode.INTERRUPTED
        assert (directory.record() or {})["status"] == "interrupted"
        assert not directory.lock().held()

    def _end_of(self, launcher: Launcher, run: str) -> int:
        found: dict[str, int] = {}

        def look() -> bool:
            found.update(launcher.ended())
            return run in found

        self._wait(look)
        assert list(found) == [run]
        return found[run]

    def _wait(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + self.seconds
        while not true():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.05)


def _directory(plan: Plan, run: str) -> RunDirectory:
    return run_directory(plan.configs[run]["paths"]["runs"], run)
