"""RunWriter runs from their own files to a server of our own: whole, in order, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ternlab.loggers.history import history_of
from ternlab.loggers.wandb.server import Server
from ternlab.loggers.wandb.sync import Did, Synced, mirrored_runs, sync_run
from ternlab.runs.directory import RunDirectory
from tests.loggers.made import add_epochs, finish, in_training, made_run
from tests.loggers.server import LoopbackWandb, Mode, StoredRun

EPOCHS = 6


def plain(stored: StoredRun) -> list[dict[str, Any]]:
    """Return the rows at the server without W&B's own columns."""
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in stored.history]


def sent(directory: RunDirectory) -> Synced:
    """Send a run as a new process would."""
    return sync_run(Server(), directory)


def test_all_of_a_run_arrives_in_order(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS, logger__group="sweep-1", tags=["mine"])
    assert sent(directory) == Synced(directory.run_id, Did.SENT, EPOCHS, wandb_id=directory.run_id)
    stored = wandb_server.run(directory.run_id)
    assert plain(stored) == history_of(directory)
    assert [row["_step"] for row in stored.history] == list(range(EPOCHS))
    assert stored.summary["degradation/top1"] == 0.30000000000000004
    assert stored.summary["val/top1"] == 70.1  # of the record, not of the last row
    assert stored.config["quant"]["name"] == "tga"
    assert stored.fields["groupName"] == "sweep-1"
    assert stored.fields["jobType"] == "quantized"
    assert set(stored.fields["tags"]) == {"mine", "tga", "tiny", "digits"}
    assert stored.exit_code == 0
    assert wandb_server.unknown == []


def test_a_second_time_sends_nothing(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS)
    sent(directory)
    before, rows = wandb_server.calls.count("file_stream"), plain(wandb_server.run(directory.run_id))
    assert sent(directory).did == Did.WHOLE
    assert wandb_server.calls.count("file_stream") == before
    assert plain(wandb_server.run(directory.run_id)) == rows


@pytest.mark.parametrize("there", range(EPOCHS + 1))
def test_what_is_missing_is_added(wandb_server: LoopbackWandb, tmp_path: Path, there: int) -> None:
    settings = made_run(tmp_path, there, status="running").settings()
    directory = made_run(tmp_path, 0, status="running")
    sent(directory)
    add_epochs(directory, EPOCHS - there)
    finish(directory, settings, started="2026-01-02T03:04:05+0000", status="finished")
    assert sent(directory).rows == EPOCHS - there
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)
    assert wandb_server.run(directory.run_id).summary["test/top1"] == 69.3
    assert len(wandb_server.runs) == 1


def test_a_stopped_run_is_not_whole_before_its_last_row_is_there(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, 2, status="interrupted")
    sent(directory)
    add_epochs(directory, 1)
    assert sent(directory).rows == 1
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


def test_results_that_come_later_are_added_without_rows(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS)
    sent(directory)
    more = {"started": "2026-01-02T03:04:05+0000", "status": "finished", "export/bytes": 1234.0}
    finish(directory, directory.settings(), **more)  # type: ignore[arg-type]
    found = sent(directory)
    assert (found.did, found.rows) == (Did.SENT, 0)
    assert wandb_server.run(directory.run_id).summary["export/bytes"] == 1234
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


def test_a_run_that_was_begun_anew_gets_a_place_of_its_own(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", EPOCHS)
    again = made_run(tmp_path / "again", 2, started="2026-02-02T00:00:00+0000")
    assert first.run_id == again.run_id
    sent(first)
    assert sent(again).wandb_id == f"{again.run_id}-2"
    assert sent(again).did == Did.WHOLE
    assert plain(wandb_server.run(first.run_id)) == history_of(first)
    assert plain(wandb_server.run(f"{again.run_id}-2")) == history_of(again)


def test_a_history_with_a_hole_is_sent_whole_to_another_place(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS)
    sent(directory)
    stored = wandb_server.run(directory.run_id)
    del stored.lines[2]
    found = sent(directory)
    assert (found.did, found.wandb_id) == (Did.SENT, f"{directory.run_id}-2")
    assert plain(wandb_server.run(found.wandb_id)) == history_of(directory)
    assert sent(directory).did == Did.WHOLE


def test_a_dry_run_sends_nothing(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS)
    found = sync_run(Server(), directory, dry_run=True)
    assert (found.did, found.rows) == (Did.WOULD_SEND, EPOCHS)
    assert "UpsertBucket" not in wandb_server.calls


def test_a_run_that_is_being_trained_is_left_to_its_process(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS, status="running")
    with in_training(directory):
        assert sent(directory).did == Did.RUNNING
    assert sent(directory).did == Did.SENT


def test_a_run_that_failed_says_so(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, 2, status="diverged")
    assert sent(directory).did == Did.SENT
    assert wandb_server.run(directory.run_id).exit_code == 1


def test_rows_that_the_server_refuses_are_noticed(wandb_server: LoopbackWandb, tmp_path: Path) -> None:
    directory = made_run(tmp_path, EPOCHS)
    wandb_server.mode, wandb_server.failing = Mode.UNAUTHORIZED, "file_stream"
    assert sent(directory).did == Did.FAILED
    wandb_server.mode = Mode.OK
    assert sent(directory).did == Did.SENT
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.TOO_MANY, Mode.BROKEN, Mode.SLOW, Mode.DROPPING])
@pytest.mark.parametrize("failing", ["graphql", "file_stream"])
def test_a_server_in_trouble_fails_the_run_and_no_more(
    wandb_server: LoopbackWandb, tmp_path: Path, mode: Mode, failing: str
) -> None:
    directory = made_run(tmp_path, EPOCHS)
    server = Server()
    wandb_server.mode, wandb_server.failing = mode, failing
    found = sync_run(server, directory)
    assert (found.did, bool(found.why)) == (Did.FAILED, True)
    wandb_server.mode = Mode.OK
    assert sync_run(server, directory).did == Did.SENT
    assert plain(wandb_server.run(directory.run_id)) == history_of(directory)


def test_mirrored_runs_are_those_with_wandb_that_have_their_own_id(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    wanted = made_run(runs, 1)
    made_run(runs, 1, seed=1, logger__name="local")
    aside = made_run(runs, 1, seed=2)
    aside.path.rename(aside.path.with_name(f"{aside.run_id}.aside-20260101-000000-1"))
    (runs / "broken").mkdir()
    (runs / "broken" / "record.json").write_text("{")
    found, others = mirrored_runs(runs)
    assert [directory.run_id for directory in found] == [wanted.run_id]
    assert others == 3
