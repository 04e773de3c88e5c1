"""Where attempts begin, and the end of a job that is requeued again and again without a step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import ExitCode, RunInterrupted
from ternlab.runs.attempts import NoProgressError
from ternlab.runs.checkpoint_files import last_written_step
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.lifecycle import complete
from ternlab.runs.record import Record
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings
from tests.settings_for_tests import tiny_settings


class Preempted:
    """A training that is stopped in every attempt, after it has saved the next of `steps`."""

    def __init__(self, *steps: int | None) -> None:
        self.steps = list(steps)

    def __call__(self, settings: Settings, directory: RunDirectory, start: Path | None) -> Any:
        step = self.steps.pop(0)
        if step is not None:
            save(directory.checkpoints, step)
        raise RunInterrupted("stopped")


def save(folder: Path, step: int) -> None:
    (folder / f"step-{step:09d}.ckpt").touch()
    (folder / f"step-{step:09d}.json").touch()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    return tiny_settings(tmp_path, quant={"name": "none"})


def attempt(settings: Settings, train: Any) -> None:
    with pytest.raises(RunInterrupted):
        complete(settings, "command", train)


def record_of(settings: Settings) -> Record:
    record = run_directory(settings.paths.runs, run_id(settings)).record()
    assert record is not None
    return record


def test_an_attempt_has_its_job_and_the_step_at_which_it_begins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Preempted(30, 50, None)
    attempt(settings, train)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    attempt(settings, train)
    monkeypatch.delenv("SLURM_JOB_ID")
    attempt(settings, train)
    found = [(one["job"], one["step"]) for one in record_of(settings)["attempts"]]
    assert found == [("12", 0), ("9_4", 30), (None, 50)]


def test_three_attempts_of_a_job_without_a_step_are_the_end(settings: Settings) -> None:
    train = Preempted(7, None, None, None)
    for _ in range(4):
        attempt(settings, train)
    with pytest.raises(NoProgressError, match="requeued 3 times without progress") as error:
        complete(settings, "command", train)
    assert error.value.exit_code == ExitCode.FAILED
    assert "step 7" in str(error.value)
    assert "--time" in str(error.value) and "checkpoint.every_steps" in str(error.value)
    record = record_of(settings)
    assert (record["status"], record["error"]["type"]) == ("failed", "NoProgressError")
    assert [one["step"] for one in record["attempts"]] == [0, 7, 7, 7, 7]


def test_a_step_now_and_then_is_progress(settings: Settings) -> None:
    train = Preempted(None, None, 1, None, None, 2, None, None, 3)
    for _ in range(9):
        attempt(settings, train)


def test_outside_of_a_job_and_in_another_one_nothing_is_counted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    for _ in range(5):
        attempt(settings, Preempted(None))
    for job in ("1", "1", "1", "2", "2", "2"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        attempt(settings, Preempted(None))


def test_a_run_that_waits_for_its_baseline_is_not_without_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    settings = tiny_settings(tmp_path, quant__init="scratch")
    train = Preempted(1, 2, 3, 4, 5)
    for _ in range(5):
        attempt(settings, train)
    assert [one["step"] for one in record_of(settings)["attempts"]] == [None] * 5
    assert [one["step"] for one in record_of(twin_of(settings))["attempts"]] == [0, 1, 2, 3, 4]


def test_the_step_is_written_down_before_the_training_which_may_be_killed(settings: Settings) -> None:
    seen: list[Any] = []

    def train(settings: Settings, directory: RunDirectory, start: Path | None) -> Any:
        seen.append((directory.record() or {})["attempts"][-1]["step"])
        raise RunInterrupted("stopped")

    attempt(settings, train)
    assert seen == [0]


def test_the_newest_checkpoint_is_a_whole_one_and_the_one_that_was_written_last(tmp_path: Path) -> None:
    assert last_written_step(tmp_path) == 0
    (tmp_path / "step-000000100.ckpt").touch()
    assert last_written_step(tmp_path) == 0
    for age, step in ((30, 90), (20, 40), (10, 50)):
        save(tmp_path, step)
        os.utime(tmp_path / f"step-{step:09d}.json", (1e9 - age, 1e9 - age))
    assert last_written_step(tmp_path) == 50
