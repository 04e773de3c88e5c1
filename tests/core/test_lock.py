"""One process at a time, and never a stale lock."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ternlab.core import lock as lock_module
from ternlab.core.errors import ExitCode, RunHeldError, StorageError
from ternlab.core.lock import RunLock
from tests.commands.run_command import LONG
from tests.fork_server import FORK_SERVER


def hold(path: Path, talk: Connection, how: str) -> None:
    """Hold the lock until told to go on; then end as `how` says."""
    try:
        with RunLock(path):
            orphan = os.fork() if how == "fork" else -1
            if orphan == 0:
                # Outlives the holder, with copies of its open files.
                time.sleep(20)
                os._exit(0)
            talk.send(orphan)
            talk.recv()
            if how == "raise":
                raise ValueError
    except ValueError:
        pass
    talk.send("out")
    talk.recv()


def holder(path: Path, how: str) -> tuple[Any, Connection, int]:
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=hold, args=(path, theirs, how), daemon=True)
    child.start()
    return child, mine, mine.recv()


def end(child: Any, talk: Connection) -> None:
    # The connection must live until here: without it, the child would leave by itself.
    child.kill()
    child.join(LONG)
    talk.close()


def test_a_second_process_is_refused_and_told_who_holds_the_run(tmp_path: Path) -> None:
    child, talk, _ = holder(tmp_path / "lock", "stay")
    with pytest.raises(RunHeldError) as error, RunLock(tmp_path / "lock"):
        pass
    end(child, talk)
    assert f"held by process {child.pid} on " in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "instead: " in str(error.value)
    assert error.value.exit_code == ExitCode.HELD


def test_the_refused_one_does_not_disturb_the_lock(tmp_path: Path) -> None:
    child, talk, _ = holder(tmp_path / "lock", "stay")
    for _ in range(3):
        with pytest.raises(RunHeldError, match=f"process {child.pid} "), RunLock(tmp_path / "lock"):
            pass
    end(child, talk)


@pytest.mark.parametrize("how", ["leave", "raise"])
def test_the_lock_ends_with_its_block_while_the_process_lives_on(tmp_path: Path, how: str) -> None:
    child, talk, _ = holder(tmp_path / "lock", how)
    talk.send("go on")
    assert talk.recv() == "out"
    with RunLock(tmp_path / "lock"):
        assert child.is_alive()
    end(child, talk)


def test_kill_9_releases_the_lock(tmp_path: Path) -> None:
    child, talk, _ = holder(tmp_path / "lock", "stay")
    os.kill(child.pid, signal.SIGKILL)
    child.join(LONG)
    with RunLock(tmp_path / "lock"):
        pass
    talk.close()


def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    child, talk, orphan = holder(tmp_path / "lock", "fork")
    end(child, talk)
    os.kill(orphan, 0)
    try:
        with RunLock(tmp_path / "lock"):
            pass
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_whatever_stands_in_the_file_only_the_lock_counts(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff nonsense " * 100)
    with RunLock(tmp_path / "lock"):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def refuse(number: int) -> Any:
    def call(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_a_file_system_without_locks_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "lockf", refuse(errno.ENOLCK))
    with pytest.raises(StorageError, match="cannot be locked"), RunLock(tmp_path / "lock"):
        pass


def test_a_full_disk_does_not_stand_in_the_way_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module.os, "write", refuse(errno.ENOSPC))
    with RunLock(tmp_path / "lock"):
        monkeypatch.undo()
        mine, theirs = FORK_SERVER.Pipe()
        child = FORK_SERVER.Process(target=try_to_enter, args=(tmp_path / "lock", theirs), daemon=True)
        child.start()
        assert mine.recv() == "RunHeldError"
        child.join(LONG)


def try_to_enter(path: Path, answer: Connection) -> None:
    """Say what came of entering."""
    try:
        with RunLock(path):
            answer.send("entered")
    except RunHeldError as error:
        answer.send(type(error).__name__)
