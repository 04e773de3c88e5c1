"""The thread that copies a run while it is trained: complete, continuous over stops, and never in the way."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from ternlab.loggers.history import history_of
from ternlab.loggers.wandb.server import Server
from ternlab.loggers.wandb.sync import Did, sync_run
from ternlab.reports.metrics_catalog import catalog
from ternlab.runs.directory import RunDirectory
from ternlab.runs.identity import run_id
from ternlab.runs.metrics import MetricsTable
from ternlab.settings.load import twin_of
from ternlab.sweeps.trial import _grouped
from tests.loggers.made import STEPS, add_epochs, finish, followed, made_run
from tests.loggers.offline_files import history, metrics, records, summary
from tests.loggers.server import LoopbackWandb, Mode
from tests.loggers.test_sync import plain
from tests.settings_for_tests import tiny_settings


def begun(folder: Path) -> RunDirectory:
    """Return a run that has no epoch yet."""
    return made_run(folder / "runs", 0, status="running")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what this package said."""
    return [record.message for record in caplog.records if record.name.startswith("ternlab")]


@pytest.mark.usefixtures("logged_out")
def test_offline_files_hold_what_the_runs_files_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = begun(tmp_path)
    followed(directory, 4)
    (found,) = records(directory.path)
    assert history(found) == history_of(directory)
    assert summary(found)["degradation/top1"] == 0.30000000000000004
    assert {record["type"] for record in found} >= {"run", "history", "exit"}
    assert warnings_of(caplog) == []


@pytest.mark.usefixtures("logged_out")
def test_metrics_have_our_steps_and_a_direction(tmp_path: Path) -> None:
    directory = begun(tmp_path)
    followed(directory, 1)
    found = metrics(records(directory.path)[0])
    assert found["*"]["step_metric"] == "step"
    for name, goal in (("val/top1", "GOAL_MAXIMIZE"), ("train/loss", "GOAL_MINIMIZE")):
        assert found[name]["goal"] == goal, catalog()[name].better
        assert found[name]["step_metric"] == "step"
    # Else the summary would have the best epoch, under another name.
    assert not any("summary" in one for one in found.values())


@pytest.mark.usefixtures("logged_out")
def test_a_resumed_run_has_all_of_its_history_in_its_last_offline_file(tmp_path: Path) -> None:
    directory = begun(tmp_path)
    followed(directory, 3, failed=True)
    for table in (directory.metrics_file, directory.layers_file):
        MetricsTable(table).keep_until(2 * STEPS)
    followed(directory, 2)
    first, second = records(directory.path)
    assert [row["epoch"] for row in history(first)] == [0, 1, 2]
    assert history(second) == history_of(directory)


def test_a_run_arrives_at_the_server(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = begun(tmp_path)
    followed(directory, 4)
    stored = wandb_server.run(directory.run_id)
    assert plain(stored) == history_of(directory)
    assert stored.summary["degradation/top1"] == 0.30000000000000004
    assert stored.exit_code == 0
    assert wandb_server.unknown == []


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_resumed_run_goes_on_in_the_same_wandb_run(wandb_server: LoopbackWandb, tmp_path: Path, kept: int) -> None:
    directory = begun(tmp_path)
    followed(directory, 3, failed=True)
    assert wandb_server.run(directory.run_id).exit_code == 1
    # The checkpoint may be of an epoch before the last row.
    for table in (directory.metrics_file, directory.layers_file):
        MetricsTable(table).keep_until(kept * STEPS)
    followed(directory, 5 - kept)
    stored = wandb_server.run(directory.run_id)
    assert plain(stored) == history_of(directory)
    assert [row["epoch"] for row in stored.history] == [0, 1, 2, 3, 4]
    assert len(wandb_server.runs) == 1


def test_rows_that_an_attempt_could_not_send_come_with_the_next(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = begun(tmp_path)
    followed(directory, 2, failed=True)
    add_epochs(directory, 2)  # an attempt that was killed before anything of it was sent
    followed(directory, 1)
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


def test_rows_that_are_refused_end_in_one_warning(
    wandb_server: LoopbackWandb, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = begun(tmp_path)
    wandb_server.mode, wandb_server.failing = Mode.UNAUTHORIZED, "file_stream"
    followed(directory, 3)
    (warning,) = warnings_of(caplog)
    assert f"ternlab wandb sync {directory.run_id} --runs {directory.path.parent}" in warning
    # Not W&B's own advice; ours may be printed too, by what an earlier test has set up.
    assert "wandb" not in capfd.readouterr().err.replace("ternlab wandb sync", "")


def test_a_key_that_is_refused_ends_in_one_warning(
    wandb_server: LoopbackWandb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = begun(tmp_path)
    wandb_server.mode = Mode.UNAUTHORIZED
    followed(directory, 3)
    assert len(warnings_of(caplog)) == 1
    wandb_server.mode = Mode.OK
    finish(directory, directory.settings(), started="2026-01-02T03:04:05+0000", status="finished")
    assert sync_run(Server(), directory).did == Did.SENT
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.TOO_MANY, Mode.BROKEN, Mode.SLOW, Mode.DROPPING])
@pytest.mark.parametrize("failing", ["", "file_stream"])
def test_a_later_sync_completes_what_a_server_in_trouble_did_not_take(
    wandb_server: LoopbackWandb, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: Mode, failing: str
) -> None:
    directory = begun(tmp_path)
    wandb_server.mode, wandb_server.failing = mode, failing
    followed(directory, 3)
    assert len(warnings_of(caplog)) == 1
    assert len(history_of(directory)) == 3
    wandb_server.mode = Mode.OK
    finish(directory, directory.settings(), started="2026-01-02T03:04:05+0000", status="finished")
    assert sync_run(Server(), directory).did == Did.SENT
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


def test_a_sync_needs_nothing_of_wandbs_offline_file(
    wandb_server: LoopbackWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = begun(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    followed(directory, 5)
    assert wandb_server.runs == {}
    finish(directory, directory.settings(), started="2026-01-02T03:04:05+0000", status="finished")
    (file,) = directory.path.glob("wandb/offline-run-*/run-*.wandb")
    whole = file.read_bytes()
    places = sorted(random.Random(0).sample(range(len(whole)), 4), reverse=True)
    for number, place in enumerate([*places, None]):
        if place is None:
            file.unlink()
        else:
            file.write_bytes(whole[:place])
        wandb_server.runs.clear()
        assert sync_run(Server(), directory).did == Did.SENT, number
        assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


def test_whatever_wandb_raises_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no disk for wandb")

    monkeypatch.setattr("ternlab.loggers.wandb.mirror.RunWriter", broken)
    directory = begun(tmp_path)
    with caplog.at_level(logging.WARNING):
        followed(directory, 3)
    (warning,) = warnings_of(caplog)
    assert "no disk for wandb" in warning


@pytest.mark.parametrize(("chosen", "group"), [("wandb", "sweep-1"), ("local", None)])
def test_the_group_of_a_trial_is_its_sweep(tmp_path: Path, chosen: str, group: str | None) -> None:
    settings = tiny_settings(tmp_path, logger__name=chosen)
    assert _grouped(settings, "sweep-1").logger.group == group
    assert run_id(_grouped(settings, "sweep-1")) == run_id(settings)
    assert twin_of(_grouped(settings, "sweep-1")).logger.group == group
    own = tiny_settings(tmp_path, logger__name=chosen, logger__group="mine")
    assert _grouped(own, "sweep-1").logger.group == "mine"
