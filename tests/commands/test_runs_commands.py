"""`ternlab runs rm` and `archive`: what they keep, what they ask, and what a kill leaves."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ternlab.commands.cli import main
from ternlab.core.lock import RunLock
from ternlab.reports import archive as archive_module
from ternlab.reports import removal
from ternlab.reports.run_index import read_runs
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import write_record
from tests.commands.run_command import LONG
from tests.reports.made_runs import make_run
from tests.sweeps.made import plan_of

TREE = tuple[tuple[str, bytes | None], ...]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs" / "runs"
    folder.mkdir(parents=True)
    return folder


def tree(folder: Path) -> TREE:
    return tuple(
        (str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
        if path.name not in ("lock", ".index-2.arrow")
    )


def ids(runs: Path) -> set[str]:
    return set(read_runs(runs)["run_id"])


def call(runs: Path, action: str, *arguments: str) -> int:
    return main(["runs", action, "--runs", str(runs), "--sweeps", str(runs.parent / "sweeps"), *arguments])


@contextlib.contextmanager
def held(directory: RunDirectory) -> Iterator[None]:
    """Hold the run by another process."""
    script = (
        "import sys; from pathlib import Path; from ternlab.core.lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(directory.path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield
        process.communicate()


def answer(runs: Path, text: str, action: str, *arguments: str) -> tuple[int, str]:
    """Run the command on a terminal of its own and type an answer."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ternlab", "runs", action, "--runs", str(runs), *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        os.close(theirs)
        os.write(ours, text.encode())
        out, _ = process.communicate(timeout=LONG)
        os.close(ours)
    return process.returncode, out.decode()


def test_rm_removes_what_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (make_run(runs, quant__name="tga", seed=seed) for seed in range(3))
    assert call(runs, "rm", first.run_id, str(second.path), "--yes") == 0
    assert ids(runs) == {third.run_id}
    assert {path.name for path in runs.iterdir()} == {third.run_id, ".index-2.arrow"}
    assert f"removed {first.run_id}" in capsys.readouterr().out


def test_rm_without_anybody_to_ask_removes_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_run(runs)
    before = tree(runs)
    assert call(runs, "rm", directory.run_id) == 2
    assert tree(runs) == before and "--yes" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "left"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1), ("yn\n", 1)])
def test_rm_asks(runs: Path, text: str, left: int) -> None:
    directory = make_run(runs)
    code, out = answer(runs, text, "rm", directory.run_id)
    assert code == 0 and "remove 1 run? [y/N]" in out and str(directory.path) in out
    assert len(ids(runs)) == left


def test_rm_keeps_a_run_that_is_held(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(runs, seed=0), make_run(runs, None, "running", seed=1)
    before = tree(runs)
    with held(second):
        assert call(runs, "rm", first.run_id, second.run_id, "--yes") == 3
        # Before anybody is asked.
        assert call(runs, "rm", second.run_id) == 3
        assert call(runs, "archive", second.run_id, "--to", str(runs.parent / "a.tar.gz"), "--keep") == 3
    assert tree(runs) == before
    assert second.run_id in capsys.readouterr().err


def test_rm_keeps_a_baseline_that_others_refer_to(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = make_run(runs, seed=0)
    own, typed = make_run(runs, quant__name="tga"), make_run(runs, quant__name="twn", baseline__run=baseline.run_id)
    change(own, baseline_run_id=baseline.run_id)
    change(typed, baseline_run_id=None, status="interrupted")
    for with_it, others in (([], [own, typed]), ([own], [typed]), ([typed], [own])):
        assert call(runs, "rm", baseline.run_id, *(one.run_id for one in with_it), "--yes") == 2
        err = capsys.readouterr().err
        assert all(one.run_id in err for one in others) and not any(one.run_id in err for one in with_it)
    assert len(ids(runs)) == 3
    assert call(runs, "rm", baseline.run_id, own.run_id, typed.run_id, "--yes") == 0
    assert ids(runs) == set()


def test_rm_keeps_a_teacher_that_others_need(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher, student = make_run(runs, seed=0), make_run(runs, quant__name="tga", seed=1)
    change(student, needs={"baseline": "gone", "teacher": teacher.run_id})
    assert call(runs, "rm", teacher.run_id, "--yes") == 2
    assert f"is needed by {student.run_id}" in capsys.readouterr().err
    assert call(runs, "rm", student.run_id, "--yes") == 0
    assert call(runs, "rm", teacher.run_id, "--yes") == 0


def change(directory: RunDirectory, **entries: object) -> None:
    write_record(directory.record_file, {**(directory.record() or {}), **entries})


def test_rm_removes_a_run_before_those_that_it_needs(runs: Path) -> None:
    made = [make_run(runs, seed=seed) for seed in range(4)]
    for later, earlier in zip(made[1:], made, strict=False):
        change(later, needs={"teacher": earlier.run_id})
    shuffled = [made[place] for place in (2, 0, 3, 1)]
    assert [one.run_id for one in removal.in_removal_order(shuffled)] == [one.run_id for one in reversed(made)]
    change(made[0], needs={"teacher": made[3].run_id})
    assert len(removal.in_removal_order(shuffled)) == 4


def test_rm_removes_baselines_last(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline, quantized = make_run(runs), make_run(runs, quant__name="tga")
    change(quantized, baseline_run_id=baseline.run_id)
    original = shutil.rmtree

    def dies(path: Path) -> None:
        original(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(removal.shutil, "rmtree", dies)
    assert call(runs, "rm", baseline.run_id, quantized.run_id, "--yes") == 5
    assert ids(runs) == {baseline.run_id}


def test_a_removal_that_is_killed_leaves_no_half_run(runs: Path) -> None:
    directory, other = make_run(runs, seed=0), make_run(runs, seed=1)
    script = (
        "import os, shutil, sys; from ternlab.commands.cli import main\n"
        "shutil.rmtree = lambda path: os.kill(os.getpid(), 9)\n"
        "main(['runs', 'rm', '--runs', sys.argv[1], sys.argv[2], '--yes'])"
    )
    command = [sys.executable, "-c", script, str(runs), directory.run_id]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    assert len([path for path in runs.iterdir() if ".aside-removed-" in path.name]) == 1
    assert ids(runs) == {other.run_id}
    assert main(["show", "--runs", str(runs), directory.run_id]) == 2
    # The next removal tidies up.
    assert call(runs, "rm", other.run_id, "--yes") == 0
    assert [path.name for path in runs.iterdir() if path.is_dir()] == []


def test_rm_says_which_sweep_would_miss_a_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(runs, "quant=tga", "optim.lr=0.1,0.2")
    sweep = runs.parent / "sweeps" / plan.sweep_id
    sweep.mkdir(parents=True)
    from ternlab.sweeps.plan import write_plan

    write_plan(plan, sweep)
    directory = RunDirectory(runs / plan.trials[0].run_id)
    directory.create()
    write_record(directory.record_file, {"run_id": directory.run_id, "status": "finished", "metrics": {}})
    assert call(runs, "rm", directory.run_id) == 2
    assert call(runs, "rm", directory.run_id, "--yes") == 0
    assert f"{plan.sweep_id} is not finished and would retrain: {directory.run_id}" in capsys.readouterr().out


def test_rm_refuses_a_link(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_run(tmp_path / "elsewhere")
    (runs / directory.run_id).symlink_to(directory.path)
    assert call(runs, "rm", directory.run_id, "--yes") == 2
    assert directory.record_file.exists() and "is a symbolic link" in capsys.readouterr().err


def test_archive_holds_the_runs_and_keeps_them(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (make_run(runs, quant__name="tga", seed=seed) for seed in (0, 1))
    (first.path / "wandb").mkdir()
    (first.path / "wandb" / "latest").symlink_to("nowhere")
    with first.lock():
        pass
    before = tree(runs)
    target = tmp_path / "kept.tar.gz"
    assert call(runs, "archive", first.run_id, second.run_id, "--to", str(target)) == 0
    assert "runs kept" in capsys.readouterr().out
    assert tree(runs) == before
    (tmp_path / "back").mkdir()
    with tarfile.open(target) as tar:
        # Python 3.11.0 to 3.11.3 have no filters.
        tar.extractall(tmp_path / "back", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    assert tree(tmp_path / "back") == before
    assert not list((tmp_path / "back").rglob("lock"))


def test_archive_removes_when_it_is_told_to(runs: Path, tmp_path: Path) -> None:
    directory, other = make_run(runs, seed=0), make_run(runs, None, "running", seed=1)
    assert call(runs, "archive", directory.run_id, "--to", str(tmp_path / "a.tar.gz"), "--yes") == 0
    assert ids(runs) == {other.run_id}
    code, out = answer(runs, "y\n", "archive", other.run_id, "--to", str(tmp_path / "b.tgz"))
    assert code == 0 and "now in the archive?" in out and ids(runs) == set()
    assert sorted(path.name for path in tmp_path.glob("*gz")) == ["a.tar.gz", "b.tgz"]


def test_runs_stay_held_until_they_are_removed(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A killed run: to look whether somebody holds it would give up this process's own lock on it.
    directory = make_run(runs, None, "running")
    script = (
        "import sys; from pathlib import Path; from ternlab.core.lock import RunLock\n"
        "print(RunLock(Path(sys.argv[1])).held())"
    )
    seen: list[str] = []
    original = removal.remove_run

    def looking(one: RunDirectory) -> None:
        command = [sys.executable, "-c", script, str(one.path / "lock")]
        seen.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        original(one)

    monkeypatch.setattr("ternlab.commands.manage_runs.remove_run", looking)
    assert call(runs, "archive", directory.run_id, "--to", str(tmp_path / "a.tar.gz"), "--yes") == 0
    assert seen == ["True"]


@pytest.mark.parametrize("target", ["there.tar.gz", "none.zip", "no/folder.tar.gz", "RUN/inside.tar.gz"])
def test_archive_refuses_targets(runs: Path, tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_run(runs)
    (tmp_path / "there.tar.gz").write_text("precious")
    path = tmp_path / target.replace("RUN", str(directory.path.relative_to(tmp_path)))
    assert call(runs, "archive", directory.run_id, "--to", str(path), "--yes") == 2
    assert "--to" in capsys.readouterr().err
    assert (tmp_path / "there.tar.gz").read_text() == "precious" and ids(runs) == {directory.run_id}


def test_archive_keeps_a_baseline_unless_it_only_copies(runs: Path, tmp_path: Path) -> None:
    baseline, quantized = make_run(runs), make_run(runs, quant__name="tga")
    change(quantized, baseline_run_id=baseline.run_id)
    target = tmp_path / "a.tar.gz"
    assert call(runs, "archive", baseline.run_id, "--to", str(target), "--yes") == 2
    assert not target.exists()
    assert call(runs, "archive", baseline.run_id, "--to", str(target), "--keep") == 0
    assert target.exists() and len(ids(runs)) == 2


@pytest.mark.parametrize("fault", ["contents", "missing", "cut"])
def test_an_archive_that_is_not_whole_removes_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_run(runs)
    before = tree(runs)
    target = tmp_path / "a.tar.gz"
    verify = archive_module._verified

    def damaged(path: Path, directories: list[RunDirectory]) -> int:
        if fault == "cut":
            path.write_bytes(path.read_bytes()[:-200])
            return verify(path, directories)
        extra = directory.path / "late.txt" if fault == "missing" else directory.metrics_file
        kept = extra.read_bytes() if extra.exists() else None
        extra.write_text("other")
        try:
            return verify(path, directories)
        finally:
            extra.unlink() if kept is None else extra.write_bytes(kept)

    monkeypatch.setattr(archive_module, "_verified", damaged)
    assert call(runs, "archive", directory.run_id, "--to", str(target), "--yes") == 6
    assert tree(runs) == before and "the runs are kept" in capsys.readouterr().err


def test_all_are_held_while_the_block_runs(runs: Path) -> None:
    first, second = (make_run(runs, seed=seed) for seed in (0, 1))
    with held(second), pytest.raises(Exception, match="held"), removal.all_held([first, second]):
        pytest.fail("entered")
    assert not RunLock(first.path / "lock").held()


def test_an_unknown_run_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_run(runs)
    assert call(runs, "rm", directory.run_id, "nosuch", "--yes") == 2
    assert "nosuch" in capsys.readouterr().err and ids(runs) == {directory.run_id}
    assert json.loads(directory.record_file.read_text())["status"] == "finished"
