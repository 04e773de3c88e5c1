"""A file is its old contents or its new ones: after an error, on a full disk, and after kill -9."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ternlab.core import files
from ternlab.core.errors import StorageError
from ternlab.core.files import atomic_writer, remove_leftovers, write_bytes, write_json, write_text
from tests.commands.run_command import LONG
from tests.fork_server import FORK_SERVER

KILLS = 20
# Where the disk is so fast or so slow that none of those was in the middle of writing.
MOST_KILLS = 400
SIZE = 300_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_the_new_contents_appear_when_the_block_ends_and_not_before(old: Path) -> None:
    with atomic_writer(old) as file:
        file.write(b"new")
        file.flush()
        assert old.read_bytes() == b"old"
    assert old.read_bytes() == b"new"
    assert names(old.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), OSError(errno.ENOENT, "gone")])
def test_an_error_in_the_block_keeps_the_old_contents_and_leaves_nothing(old: Path, error: BaseException) -> None:
    def write() -> None:
        with atomic_writer(old) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)) as raised:
        write()
    assert raised.value is error
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("where", ["fsync", "open", "replace"])
def test_a_disk_that_takes_no_more_is_a_storage_error(
    old: Path, where: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    target: Any = files.os if where == "fsync" else Path
    monkeypatch.setattr(target, where, refuse)
    with pytest.raises(StorageError, match="previous contents are kept"):
        write_bytes(old, b"new")
    monkeypatch.undo()
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "file", "new")


def write_with_limit(path: Path, limit: int, answer: Connection) -> None:
    """Write in a process that the kernel lets write `limit` bytes to a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_bytes(path, bytes(100_000))
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {error}")
    else:
        answer.send("written")


@pytest.mark.parametrize(("limit", "expected"), [(0, "StorageError"), (99_999, "StorageError"), (100_000, "written")])
def test_a_write_that_the_kernel_refuses_keeps_the_old_file(old: Path, limit: int, expected: str) -> None:
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=write_with_limit, args=(old, limit, theirs), daemon=True)
    child.start()
    assert mine.recv().startswith(expected)
    child.join(LONG)
    assert old.stat().st_size == (100_000 if expected == "written" else 3)
    assert names(old.parent) == ["file"]


def write_without_end(path: Path) -> None:
    """Write the file again and again; its contents are one number, many times."""
    for number in range(10**6):
        write_bytes(path, bytes([number % 256]) * SIZE)


def killed(target: Callable[..., None], *arguments: Any, ready: Path, delay: float) -> None:
    """Run `target` in a process, wait for `ready`, and kill it after `delay` seconds."""
    child = FORK_SERVER.Process(target=target, args=arguments, daemon=True)
    child.start()
    end = time.monotonic() + LONG
    while not ready.exists() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join(LONG)


def test_kill_9_in_the_middle_of_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    moments = random.Random(0)
    left = 0
    for number in range(1, MOST_KILLS + 1):
        path = tmp_path / f"{number}"
        killed(write_without_end, path, ready=path, delay=moments.uniform(0, 0.02))
        contents = path.read_bytes()
        assert len(contents) == SIZE and len(set(contents)) == 1
        left += any(name.startswith(".tmp-") for name in names(tmp_path))
        remove_leftovers(tmp_path)
        if left and number >= KILLS:
            break
    # Else the kills were too late or too early to try anything.
    assert left
    assert names(tmp_path) == sorted(str(earlier) for earlier in range(1, number + 1))


def test_remove_leftovers_takes_nothing_else(tmp_path: Path) -> None:
    for name in (".tmp-123-record.json", ".tmp-abc-a", "record.json", ".hidden", "tmp-1"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "record.json", "tmp-1"]
    remove_leftovers(tmp_path / "nowhere")


def test_json_has_no_infinite_numbers(old: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(old, {"loss": float("nan")})
    assert old.read_bytes() == b"old"
