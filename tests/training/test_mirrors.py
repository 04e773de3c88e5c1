"""The mirror to W&B: offline files read back, and failures that a run does not notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.metrics import read_table
from ternlab.settings.root import LoggerSettings, Settings
from ternlab.training.mirrors import WandbMirror, wandb_mode
from ternlab.training.processes import Place
from ternlab.training.running import train_here
from tests.settings_for_tests import tiny_settings


def trained(settings: Settings) -> RunDirectory:
    """Train in this process, with mirrors, without record and baseline."""
    directory = run_directory(settings.paths.runs, run_id(settings))
    directory.create()
    train_here(settings, directory, None, Place())
    return directory


def inspected(directory: RunDirectory) -> list[dict[str, Any]]:
    """Return what W&B's own reader finds in the offline files."""
    found = []
    for path in sorted((directory.path / "wandb").glob("offline-run-*")):
        command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--summary", "--json", str(path)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return found


def test_an_offline_run_holds_what_the_runs_own_files_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = tiny_settings(tmp_path, logger__name="wandb", tags=["a-tag"])
    directory = trained(settings)
    (run,) = inspected(directory)
    assert run["run_id"] == directory.run_id
    assert run["state"] == "finished"
    assert {"a-tag", "tga", "tiny", "digits"} <= set(run["tags"])
    assert run["config"]["quant"]["threshold"]["init"] == 0.05
    last = read_table(directory.metrics_file)[-1]
    assert run["summary"]["val/top1"] == float(last["val/top1"])
    assert run["summary"]["train/loss"] == float(last["train/loss"])
    assert run["summary"]["layers"]["nrows"] == 3


def test_a_run_trains_on_when_wandb_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: WandbMirror, mode: str) -> None:
        raise RuntimeError("no disk for wandb")

    monkeypatch.setattr(WandbMirror, "_init", broken)
    mirrored = trained(tiny_settings(tmp_path / "mirrored", logger__name="wandb"))
    plain = trained(tiny_settings(tmp_path / "plain"))
    assert mirrored.metrics_file.read_text() == plain.metrics_file.read_text()
    assert [record.message for record in caplog.records if "W&B failed" in record.message].__len__() == 1


@pytest.mark.slow
def test_a_run_trains_on_when_the_server_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    directory = trained(tiny_settings(tmp_path, logger__name="wandb"))
    assert "W&B cannot be reached" in caplog.text
    (run,) = inspected(directory)
    assert run["summary"]["val/top1"] == float(read_table(directory.metrics_file)[-1]["val/top1"])


def test_wandb_is_offline_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_mode(LoggerSettings(name="wandb")) == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai\nlogin user\npassword " + "0" * 40 + "\n")
    assert wandb_mode(LoggerSettings(name="wandb")) == "online"
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_mode(LoggerSettings(name="wandb")) == "online"
    assert wandb_mode(LoggerSettings(name="wandb", mode="offline")) == "offline"
