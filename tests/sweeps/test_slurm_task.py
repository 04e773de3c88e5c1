"""What runs in a job, without SLURM."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.runs.directory import run_directory
from ternlab.sweeps.on_slurm import task as slurm_task
from ternlab.sweeps.on_slurm.batches import Batch, Place, all_batches, read_batch, remove_batch, write_batch
from ternlab.sweeps.plan import write_plan
from ternlab.sweeps.trial import _arguments, run_trial
from tests.sweeps.made import plan_of

Job = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_batch(tmp_path, Batch("token", "sweep-1", "/plan file.json", ("first", "second"), Place(3, 2, 4, "gpu")))
    (tmp_path / "slurm" / "12_1.txt").touch()
    return tmp_path


def carried(folder: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> int:
    module = types.ModuleType("ternlab.slurm.job")
    module.run_job = job  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ternlab.slurm.job", module)
    return slurm_task.carry(folder / "slurm" / "token.json")


def test_the_run_of_its_index_is_carried_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def job(command: Sequence[str], *, record: Path) -> int:
        seen.extend([list(command), record, (folder / "alive" / "second").exists()])
        subprocess.run(["echo", "said by a child"], check=True)
        return 0

    assert carried(folder, job, monkeypatch) == 0
    place = ["--threads=3", "--devices=2", "--nodes=4", "--accelerator=gpu"]
    command = [sys.executable, "-u", "-m", "ternlab.sweeps.trial", "/plan file.json", "second", *place]
    assert seen == [command, folder / "exits" / "second.json", True]
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["token.json"]
    assert _arguments(command[4:]) == {
        "plan_file": Path("/plan file.json"),
        "run": "second",
        "threads": 3,
        "devices": 2,
        "nodes": 4,
        "accelerator": "gpu",
    }


def test_what_a_run_that_fails_has_said_stays_behind_what_it_said_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def job(command: Sequence[str], *, record: Path) -> int:
        subprocess.run(["sh", "-c", "echo out; echo err >&2"], check=True)
        record.write_text("{}")
        return 5

    for _ in range(2):
        assert carried(folder, job, monkeypatch) == 5
    print("here again", flush=True)
    assert (folder / "output" / "second.txt").read_text() == "out\nerr\n" * 2
    assert not (folder / "alive" / "second").exists()
    assert (folder / "slurm" / "12_1.txt").exists()
    assert capfd.readouterr().out == "here again\n"


def test_the_heart_beats_while_the_run_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_task, "_BEAT_SECONDS", 0.01)
    alive = folder / "alive" / "second"

    def job(command: Sequence[str], *, record: Path) -> int:
        times: set[int] = set()
        while len(times) < 3:
            times.add(alive.stat().st_mtime_ns if alive.exists() else 0)
        return 0

    assert carried(folder, job, monkeypatch) == 0


def test_a_batch_that_was_taken_back_trains_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remove_batch(folder, "token")

    def job(command: Sequence[str], *, record: Path) -> int:
        raise AssertionError("it must not run")

    assert carried(folder, job, monkeypatch) == ExitCode.HELD
    assert "withdrawn" in capsys.readouterr().err
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_batch_is_read_as_it_was_written(tmp_path: Path) -> None:
    batch = Batch("t", "sweep-1", "/p", ("a", "b"), Place(1), after=("c", "d"), job="12")
    assert read_batch(write_batch(tmp_path, batch)) == batch
    assert list(all_batches(tmp_path)) == [batch]
    assert batch.renewed().token != batch.token
    assert batch.renewed().job is None
    remove_batch(tmp_path, "t")
    assert read_batch(tmp_path / "slurm" / "t.json") is None


@pytest.mark.parametrize(("before", "after"), [(None, ()), ("c", ("c",))])
def test_a_batch_of_before_runs_could_wait_for_several_is_read(
    tmp_path: Path, before: str | None, after: tuple[str, ...]
) -> None:
    path = write_batch(tmp_path, Batch("t", "sweep-1", "/p", ("a", "b"), Place(1)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1, "after": before}))
    assert read_batch(path) == Batch("t", "sweep-1", "/p", ("a", "b"), Place(1), after)


def test_the_cluster_decides_what_is_outside_of_a_runs_identity(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "trainer.max_epochs=1")
    run = plan.trials[0].run_id
    assert run_trial(write_plan(plan, tmp_path), run, 1, devices=1, accelerator="cpu") == 0
    settings = run_directory(tmp_path / "runs", run).settings()
    assert (settings.trainer.threads, settings.trainer.devices, settings.trainer.accelerator) == (1, 1, "cpu")


def test_what_a_trial_may_be_told() -> None:
    assert _arguments(["plan", "run"])["threads"] is None
    with pytest.raises(SystemExit):
        _arguments(["plan", "run", "--thread=2"])
