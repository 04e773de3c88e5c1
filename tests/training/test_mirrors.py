"""The mirror to W&B beside a real training: what it holds is what the run's files hold, and it is never in the way."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from ternlab.loggers.history import history_of
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.metrics import read_table
from ternlab.settings.root import Settings
from ternlab.training.fit import train_here
from ternlab.training.processes import Place
from tests.commands.run_command import TINY, stop, wait_for
from tests.commands.warm_command import run, start
from tests.loggers.offline_files import history, records, summary
from tests.loggers.server import KEY, LoopbackWandb, Mode, log_in, log_out, loopback_wandb
from tests.loggers.test_sync import plain
from tests.settings_for_tests import tiny_settings


@pytest.fixture(autouse=True)
def _logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_out(monkeypatch, tmp_path)


def trained(settings: Settings) -> RunDirectory:
    """Train in this process, with mirrors, without record and baseline."""
    directory = run_directory(settings.paths.runs, run_id(settings))
    directory.create()
    train_here(settings, directory, {}, Place())
    return directory


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages about W&B."""
    return [record.message for record in caplog.records if "W&B" in record.message]


def test_an_offline_run_holds_what_the_runs_own_files_hold(tmp_path: Path) -> None:
    directory = trained(tiny_settings(tmp_path, logger__name="wandb", tags=["a-tag"]))
    (found,) = records(directory.path)
    assert history(found) == history_of(directory)
    (about,) = (record["run"] for record in found if record["type"] == "run")
    assert about["run_id"] == directory.run_id
    assert {"a-tag", "tga", "tiny", "digits"} == set(about["tags"])
    last = read_table(directory.metrics_file)[-1]
    assert summary(found)["val/top1"] == float(last["val/top1"])
    assert summary(found)["train/loss"] == float(last["train/loss"])
    assert len([name for name in summary(found) if name.endswith("/sparsity")]) == 1 + 3


def test_a_run_without_epochs_sends_its_results(tmp_path: Path) -> None:
    directory = trained(tiny_settings(tmp_path, logger__name="wandb", trainer__max_epochs=0))
    (found,) = records(directory.path)
    assert "test/top1" in summary(found)


def test_a_run_trains_on_when_wandb_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no disk for wandb")

    monkeypatch.setattr("ternlab.loggers.wandb.mirror.RunWriter", broken)
    mirrored = trained(tiny_settings(tmp_path / "mirrored", logger__name="wandb"))
    plain_run = trained(tiny_settings(tmp_path / "plain"))
    assert mirrored.metrics_file.read_text() == plain_run.metrics_file.read_text()
    assert len(said(caplog)) == 1


def test_a_run_trains_on_when_wandb_cannot_be_used_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise ImportError("no wandb here")

    monkeypatch.setattr("ternlab.loggers.live_sync.LiveSync", missing)
    mirrored = trained(tiny_settings(tmp_path / "mirrored", logger__name="wandb"))
    assert mirrored.weights_file.is_file()
    assert "no wandb here" in said(caplog)[0]


def test_each_epoch_is_told_when_its_row_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    class Told:
        def __init__(self, _: Settings, directory: RunDirectory) -> None:
            self._directory = directory

        def notify(self) -> None:
            told.append(len(history_of(self._directory)))

        def close(self, metrics: Mapping[str, float], *, failed: bool) -> None:
            assert not failed
            assert "test/top1" in metrics

    monkeypatch.setattr("ternlab.loggers.live_sync.LiveSync", Told)
    trained(tiny_settings(tmp_path, logger__name="wandb", trainer__max_epochs=3))
    assert told == [1, 2, 3]


@pytest.mark.slow
def test_a_run_trains_on_when_the_server_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log_in(monkeypatch, "http://127.0.0.1:1", tmp_path)
    directory = trained(tiny_settings(tmp_path, logger__name="wandb"))
    (message,) = said(caplog)
    assert f"ternlab wandb sync {directory.run_id}" in message
    assert directory.weights_file.is_file()


def test_a_run_is_online_with_a_key(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = trained(tiny_settings(tmp_path, logger__name="wandb"))
    stored = wandb_server.run(directory.run_id)
    assert plain(stored) == history_of(directory)
    assert stored.summary["val/top1"] == float(read_table(directory.metrics_file)[-1]["val/top1"])
    assert stored.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_stopped_has_one_continuous_history(tmp_path: Path, number: int) -> None:
    typed = (*TINY, "logger=wandb", "quant=tga", "trainer.max_epochs=4")
    with loopback_wandb() as server:
        online = {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        process = start(tmp_path, *typed, TINY_SECONDS="0.1", **online)
        wait_for(tmp_path, "*-tga-*/checkpoints/*6*.json")
        stop(process, number)
        code, _, err = run(tmp_path, *typed, **online)
        assert code == 0, err
        assert len(server.runs) == 2
        for path in (tmp_path / "logs" / "runs").iterdir():
            directory = RunDirectory(path)
            stored = server.run(directory.run_id)
            assert plain(stored) == history_of(directory)
            assert [row["epoch"] for row in stored.history] == [0, 1, 2, 3]
            metrics = (directory.record() or {})["metrics"]
            assert metrics.items() <= stored.summary.items()
            assert {one["fields"]["groupName"] for one in map(vars, server.runs.values())} == {_baseline(tmp_path)}


@pytest.mark.slow
def test_a_key_stands_in_no_file(tmp_path: Path) -> None:
    with loopback_wandb() as server:
        online = {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        server.mode, server.failing = Mode.UNAUTHORIZED, "file_stream"
        assert run(tmp_path, *TINY, "logger=wandb", "quant=none", **online)[0] == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def _baseline(folder: Path) -> str:
    (path,) = (folder / "logs" / "runs").glob("*-none-*")
    return path.name
