"""Where a run stands, told from its folder alone."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ternlab.runs.directory import run_directory
from ternlab.sweeps.states import State, standing
from tests.fork_server import FORK_SERVER
from tests.sweeps.made import write_status


def hold(runs: Path, run: str, talk: Connection) -> None:
    directory = run_directory(runs, run)
    directory.create()
    with directory.lock():
        talk.send("held")
        talk.recv()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[str]:
    """The id of a run that another process holds."""
    mine, theirs = FORK_SERVER.Pipe()
    process = FORK_SERVER.Process(target=hold, args=(tmp_path, "run", theirs), daemon=True)
    process.start()
    assert mine.recv() == "held"
    yield "run"
    mine.send("leave")
    process.join()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("finished", State.FINISHED),
        ("diverged", State.DIVERGED),
        ("failed", State.FAILED),
        ("interrupted", State.STOPPED),
        ("running", State.STOPPED),
    ],
)
def test_a_run_that_nobody_holds(status: str, state: State, tmp_path: Path) -> None:
    write_status(tmp_path, "run", status)
    assert standing(tmp_path, "run").state == state


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, State.RUNNING),
        ("running", State.RUNNING),
        ("failed", State.RUNNING),
        ("interrupted", State.RUNNING),
        # It has only not left yet.
        ("finished", State.FINISHED),
        ("diverged", State.DIVERGED),
    ],
)
def test_a_run_that_a_process_holds(status: str | None, state: State, held: str, tmp_path: Path) -> None:
    if status is not None:
        write_status(tmp_path, held, status)
    assert standing(tmp_path, held).state == state


def test_a_run_that_was_never_begun_and_one_whose_record_is_torn(tmp_path: Path) -> None:
    assert standing(tmp_path, "run").state == State.WAITING
    run_directory(tmp_path, "run").create()
    assert standing(tmp_path, "run").state == State.WAITING
    run_directory(tmp_path, "run").record_file.write_text("{")
    assert standing(tmp_path, "run").state == State.WAITING


def test_epochs_and_the_newest_metrics_come_along(tmp_path: Path) -> None:
    write_status(tmp_path, "run", "interrupted")
    run_directory(tmp_path, "run").metrics_file.write_text("epoch,val/top1\n0,10.0\n1,\n")
    one = standing(tmp_path, "run")
    assert (one.epoch, one.epochs, one.last["val/top1"]) == (2, 2, "")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, State.PRUNED),
        ("interrupted", State.PRUNED),
        ("running", State.PRUNED),
        ("failed", State.PRUNED),
        ("finished", State.FINISHED),
        ("diverged", State.DIVERGED),
    ],
)
def test_a_run_that_a_search_has_stopped_early(status: str | None, state: State, tmp_path: Path) -> None:
    if status is not None:
        write_status(tmp_path, "run", status)
    assert standing(tmp_path, "run", {"run"}).state == state
    assert standing(tmp_path, "run", {"other"}).state != State.PRUNED


def test_a_run_that_was_stopped_early_runs_until_it_has_saved(held: str, tmp_path: Path) -> None:
    assert standing(tmp_path, held, {held}).state == State.RUNNING
