"""A checkpoint is whole or it is not there: cut off, flipped, full disk, kill -9, foreign code."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import random
import resource
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from ternlab.core.errors import CheckpointCorruptError, SettingsError
from ternlab.runs.checkpoint_files import checkpoint_file, manifest_file, newest_first, read_manifest
from ternlab.runs.directory import RunDirectory
from ternlab.training.checkpoints import KEY, AtomicCheckpointIO, prune, readable, verify
from ternlab.training.resume import read_checkpoint, starting_checkpoint
from tests.commands.run_command import LONG
from tests.fork_server import FORK_SERVER
from tests.settings_for_tests import tiny_settings

KILLS = 20
# Where the disk is so fast or so slow that none of those was in the middle of saving.
MOST_KILLS = 400


def state(step: int, numbers: int = 4, run_id: str = "run") -> dict[str, Any]:
    mark = {"run_id": run_id, "epoch": 0, "step": step, "batch": step % 3, "precision": "32-true"}
    return {KEY: mark, "state_dict": {"w": torch.full((numbers,), float(step))}}


def save(folder: Path, *steps: int, numbers: int = 4, run_id: str = "run") -> list[Path]:
    folder.mkdir(exist_ok=True)
    for step in steps:
        AtomicCheckpointIO().save_checkpoint(state(step, numbers, run_id), checkpoint_file(folder, step))
    return [checkpoint_file(folder, step) for step in steps]


def load(path: Path) -> dict[str, Any]:
    return AtomicCheckpointIO().load_checkpoint(path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 7)
    assert names(tmp_path) == ["step-000000007.ckpt", "step-000000007.json"]
    loaded = load(path)
    assert torch.equal(loaded["state_dict"]["w"], torch.full((4,), 7.0))
    manifest = read_manifest(path)
    assert {name: manifest[name] for name in state(7)[KEY]} == state(7)[KEY] == loaded[KEY]
    assert manifest["bytes"] == path.stat().st_size


def test_one_that_is_cut_off_at_any_byte_is_never_loaded(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 1)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointCorruptError, match="is damaged"):
            load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointCorruptError, match="is damaged"):
        load(path)
    path.write_bytes(whole)
    load(path)


def test_one_with_a_flipped_bit_in_any_byte_is_never_loaded(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 1)
    whole = path.read_bytes()
    bits = random.Random(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bits.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointCorruptError, match="is damaged"):
            load(path)


def test_a_flipped_bit_in_any_byte_of_the_checksum_file_never_starts_a_run_elsewhere(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    settings = tiny_settings(tmp_path)
    save(directory.checkpoints, 4, 5)
    manifest = manifest_file(checkpoint_file(directory.checkpoints, 5))
    whole = manifest.read_bytes()
    used = []
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            manifest.write_bytes(damaged)
            start = starting_checkpoint(settings, directory, torch.nn.Identity())
            assert start is not None
            assert (start.step, start.batch) in {(5, 2), (4, 1)}
            assert start.path == checkpoint_file(directory.checkpoints, start.step)
            used.append(start.step)
    assert set(used) == {4, 5}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "{}", '{"sha256": 3, "bytes": 9}', '{"sha256": "00", "bytes": "many"}', "\udc80"],
)
def test_one_with_a_garbled_checksum_file_is_not_used(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = save(tmp_path, 1, 2)
    manifest_file(newer).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointCorruptError, match=str(newer)):
        load(newer)
    with caplog.at_level(logging.WARNING):
        assert next(readable(tmp_path)) == older
    assert str(newer) in caplog.text
    assert "Falling back to the checkpoint before it" in caplog.text


def test_one_without_a_checksum_file_does_not_exist(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1, 2)
    manifest_file(newer).unlink()
    assert newest_first(tmp_path) == list(readable(tmp_path)) == [older]
    with pytest.raises(CheckpointCorruptError, match="cannot be verified"):
        load(newer)


def test_readable_falls_back_to_the_whole_ones_before(tmp_path: Path) -> None:
    paths = save(tmp_path, 1, 2, 10, 11)
    for path in paths[2:]:
        path.write_bytes(path.read_bytes()[:-1])
    assert newest_first(tmp_path) == paths[::-1]
    assert list(readable(tmp_path)) == [paths[1], paths[0]]


def test_names_that_are_no_checkpoints_are_passed_over(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 5)
    for name in ("step-9.ckpt", "step-000000009.ckpt.bak", "step-best.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes(path.read_bytes())
        (tmp_path / name).with_suffix(".json").write_bytes(manifest_file(path).read_bytes())
    assert newest_first(tmp_path) == [path]


@pytest.mark.parametrize("keep", [2, 3])
def test_prune_keeps_the_newest_and_removes_what_killed_writers_left(tmp_path: Path, keep: int) -> None:
    paths = save(tmp_path, 1, 2, 3, 4)
    (tmp_path / ".tmp-0123-step-000000005.ckpt").write_bytes(b"torn")
    checkpoint_file(tmp_path, 6).write_bytes(paths[0].read_bytes())
    prune(tmp_path, keep)
    expected = paths[-keep:]
    assert list(readable(tmp_path)) == expected[::-1]
    assert names(tmp_path) == sorted(path.name for kept in expected for path in (kept, manifest_file(kept)))


def test_damaged_checkpoints_do_not_push_out_the_ones_saved_after_them(tmp_path: Path) -> None:
    for path in save(tmp_path, 10, 12):
        path.write_bytes(path.read_bytes()[:-1])
    # The run begins again, or goes on from an earlier step.
    for step in (1, 2, 3):
        (path,) = save(tmp_path, step)
        prune(tmp_path, 2)
        assert next(readable(tmp_path)) == path
    assert list(readable(tmp_path)) == [checkpoint_file(tmp_path, 3), checkpoint_file(tmp_path, 2)]


def test_removing_is_complete_and_may_be_repeated(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 1)
    for _ in range(2):
        AtomicCheckpointIO().remove_checkpoint(path)
        assert names(tmp_path) == []


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(trap)))
    assert trap.exists(), "the trap must work where code is run"
    trap.unlink()
    folder = tmp_path / "checkpoints"
    (path,) = save(folder, 1)
    contents: dict[str, Any] = {**state(1), "trap": Malicious(trap)}
    if kind == "zip":
        AtomicCheckpointIO().save_checkpoint(contents, path)
    else:
        path.write_bytes(pickle.dumps(contents, protocol=2))
        manifest_file(path).unlink()
    if kind == "zip":
        with pytest.raises(pickle.UnpicklingError, match="Weights only"):
            load(path)
        with pytest.raises(pickle.UnpicklingError, match="Weights only"):
            AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    with pytest.raises(SettingsError, match="ckpt_path"):
        read_checkpoint(path)
    assert not trap.exists()


def test_a_checkpoint_given_by_path_is_compared_with_its_checksum(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 1)
    assert read_checkpoint(path)[KEY] == state(1)[KEY]
    buffer = io.BytesIO()
    torch.save(state(2), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(SettingsError, match="is damaged"):
        read_checkpoint(path)


def save_with_limits(folder: Path, numbers: int, limits: list[int], answer: Connection) -> None:
    """Save in a process that the kernel lets write `limit` bytes to a file; the last limit is enough."""
    for step, limit in enumerate(limits, start=2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save(folder, step, numbers=numbers)
        except BaseException as error:
            answer.send((limit, f"{type(error).__name__}: {error}"))
        else:
            answer.send((limit, "saved"))
        prune(folder, 2)
    answer.send(None)


def test_a_full_disk_while_saving_is_a_storage_error_and_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    numbers = 10_000
    (first,) = save(tmp_path, 1, numbers=numbers)
    size = first.stat().st_size
    # From the first byte to the last one, with the middle of the large tensor.
    limits = [0, 1, 500, 1000, 5000, size // 2, size - 2000, size - 100, size - 1]
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=save_with_limits, args=(tmp_path, numbers, [*limits, size], theirs), daemon=True)
    child.start()
    answers = dict(iter(mine.recv, None))
    child.join(LONG)
    assert answers.pop(size) == "saved"
    assert list(answers) == limits
    for limit, answer in answers.items():
        assert answer.startswith("StorageError"), (limit, answer)
        assert "cannot be written" in answer
    assert list(readable(tmp_path)) == [checkpoint_file(tmp_path, len(limits) + 2), first]
    assert len(names(tmp_path)) == 4


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        AtomicCheckpointIO().save_checkpoint({KEY: {}, "hook": lambda: None}, checkpoint_file(tmp_path, 2))
    assert names(tmp_path) == ["step-000000001.ckpt", "step-000000001.json"]


def save_without_end(folder: Path, first: int) -> None:
    """Save step after step, as a training does."""
    torch.set_num_threads(1)
    for step in range(first, first + 10**6):
        save(folder, step, numbers=100_000)
        prune(folder, 2)


def test_after_kill_9_in_the_middle_of_saving_there_is_always_a_whole_one(tmp_path: Path) -> None:
    moments = random.Random(1)
    reached, torn = 0, 0
    for number in range(1, MOST_KILLS + 1):
        child = FORK_SERVER.Process(target=save_without_end, args=(tmp_path, reached + 1), daemon=True)
        child.start()
        end = time.monotonic() + LONG
        while not any(step > reached for step in steps(tmp_path)) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(LONG)
        before, reached = reached, max(steps(tmp_path))
        assert reached > before
        # What exists is whole, and the newest is one of them.
        assert [path.name for path in readable(tmp_path)] == [path.name for path in newest_first(tmp_path)]
        newest = next(readable(tmp_path))
        verify(newest)
        assert float(load(newest)["state_dict"]["w"][-1]) == reached
        torn += any(name.startswith(".tmp-") for name in names(tmp_path)) or len(names(tmp_path)) % 2
        if torn and number >= KILLS:
            break
    # Else the kills were too late or too early to try anything.
    assert torn
    prune(tmp_path, 2)
    assert len(names(tmp_path)) == 4


def steps(folder: Path) -> list[int]:
    # By name: the writer may take a file away between the look and the reading.
    return [int(path.stem.removeprefix("step-")) for path in newest_first(folder)]


def test_the_checksum_file_is_json_that_says_where_training_was(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 5)
    assert json.loads(manifest_file(path).read_text())["batch"] == 2
