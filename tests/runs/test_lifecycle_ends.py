"""How a run ends that does not finish: exit code, record, log file."""

from __future__ import annotations

import json
import logging
import resource
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ternlab.commands.entry import run as run_entry
from ternlab.commands.train import main as train_command
from ternlab.core.errors import (
    DivergedError,
    ExitCode,
    RunInterrupted,
    SettingsError,
    StorageError,
)
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.settings.root import Settings
from ternlab.training import train_run
from tests.commands.run_command import LONG, ROOT
from tests.fork_server import FORK_SERVER
from tests.runs.lifecycle_world import FakeTrain, finish, full


def command(monkeypatch: pytest.MonkeyPatch, train: FakeTrain, *arguments: str) -> int:
    """Type a training command whose training is `train`."""
    monkeypatch.setattr(train_run, "_train", train)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    return run_entry(ROOT / "conf" / "train.yaml", train_command)


def test_bad_settings_found_in_training_end_with_2_and_the_record_says_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = FakeTrain(none=SettingsError("data.root", value="x", rule="has a corrupt image", instead="y"))
    assert command(monkeypatch, train, "data=digits") == ExitCode.BAD_SETTINGS
    assert "error: data.root = x: has a corrupt image\n  instead: y" in capsys.readouterr().err
    (path,) = tmp_path.glob("logs/runs/*/record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "failed"
    assert record["error"] == {"type": "SettingsError", "message": "data.root = x: has a corrupt image\n  instead: y"}
    assert "Traceback" not in (path.parent / "log.txt").read_text()


@pytest.mark.parametrize("arguments", [[], ["quant=tga"]])
def test_the_traceback_of_an_unexpected_error_is_in_the_log_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, FakeTrain(none=ZeroDivisionError("boom")), *arguments) == ExitCode.FAILED
    out, err = capsys.readouterr()
    (log,) = tmp_path.glob("logs/runs/*-none-*/log.txt")
    assert "Traceback" not in out + err and "lifecycle_world.py" not in out + err
    assert "error: ZeroDivisionError: boom" in err
    assert f"the traceback is in {log}" in err
    text = log.read_text()
    assert "Traceback" in text and "lifecycle_world.py" in text and "ZeroDivisionError: boom" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DivergedError("nan"), ExitCode.DIVERGED),
        (RunInterrupted("stopped"), ExitCode.INTERRUPTED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (StorageError("full"), ExitCode.STORAGE),
        (RuntimeError("boom"), ExitCode.FAILED),
    ],
)
def test_every_end_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: ExitCode
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        got = command(monkeypatch, FakeTrain(none=error))
    except SystemExit as leaving:
        got = int(str(leaving.code))
    assert got == code


def complete_with_limit(settings: Settings, limit: int, answer: Connection) -> None:
    """Complete a run in a process that may write `limit` bytes to a file."""
    logging.raiseExceptions = False
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        finish(settings)
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {error}")
    else:
        answer.send("finished")


@pytest.mark.parametrize("limit", [0, 10, 500])
def test_a_disk_that_is_full_from_the_start_is_a_storage_error(tmp_path: Path, limit: int) -> None:
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=complete_with_limit, args=(full(tmp_path), limit, theirs), daemon=True)
    child.start()
    assert mine.recv().startswith("StorageError")
    child.join(LONG)
    assert finish(full(tmp_path))["status"] == "finished"


def test_a_record_that_cannot_be_read_stops_the_run_and_is_not_overwritten(tmp_path: Path) -> None:
    settings, train = full(tmp_path), FakeTrain()
    path = run_directory(tmp_path, run_id(settings)).path
    path.mkdir(parents=True)
    (path / "record.json").write_text("{")
    with pytest.raises(StorageError, match="not a readable record"):
        finish(settings, train)
    assert train.calls == []
    assert (path / "record.json").read_text() == "{"
