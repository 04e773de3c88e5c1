"""The tasks of a run on several nodes: how they meet and leave, and a training of two of them on this machine."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import DivergedError, ExitCode, InfrastructureError, RunInterrupted, SettingsError
from ternlab.core.signals import StopRequest
from ternlab.slurm.allocation import Allocation
from ternlab.training import rendezvous
from ternlab.training.rendezvous import Call, Follower, Leader, check_address
from tests.commands.run_command import LONG, TINY, wait_for
from tests.commands.warm_command import run, start

# Locks are between processes, so a follower of these tests is one.
FORK = multiprocessing.get_context("fork")
FULL = ("quant=none", *(word for word in TINY if not word.startswith("quant.")), "checkpoint.every_steps=1")


def place(node: int, count: int = 2, restarts: int = 0) -> Allocation:
    return Allocation("7", "7", restarts, count, count, node, node, "0", "n[1-2]")


def _follow(runs: Path, node: int, out: Path, count: int = 2) -> None:
    follower = Follower(runs, place(node, count))
    seen: list[Any] = []
    try:
        for call in follower.calls():
            seen.append([call.number, str(call.run), call.address, call.port])
            if call.run.name == "fails":
                follower.report(call, DivergedError("not finite"))
        seen.append("end")
    except InfrastructureError as error:
        seen.append(str(error))
    finally:
        follower.leave()
    out.write_text(json.dumps(seen))


def follow(runs: Path, node: int = 1, count: int = 2) -> tuple[Any, Path]:
    """Start a follower; return its process and the file in which it says what it saw."""
    out = runs / f"seen-{node}.json"
    process = FORK.Process(target=_follow, args=(runs, node, out, count))
    process.start()
    return process, out


def seen(follower: tuple[Any, Path]) -> Any:
    follower[0].join(LONG)
    return json.loads(follower[1].read_text())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(rendezvous, "ENDING_SECONDS", 5.0)
    monkeypatch.delenv("MASTER_ADDR", raising=False)


def test_followers_join_each_training_and_leave_with_the_leader_and_nothing_is_left(tmp_path: Path) -> None:
    followers = [follow(tmp_path, node, 3) for node in (1, 2)]
    with Leader(tmp_path, place(0, 3)) as leader:
        first = leader.call(tmp_path / "baseline", StopRequest())
        second = leader.call(tmp_path / "run", StopRequest())
        wait = [leader.folder / f"call-{number}.json" for number in (0, 1)]
        assert all(path.exists() for path in wait)
    for follower in followers:
        assert seen(follower) == [
            [0, str(tmp_path / "baseline"), first.address, first.port],
            [1, str(tmp_path / "run"), second.address, second.port],
            "end",
        ]
    assert not list((tmp_path / ".nodes").iterdir())


def test_a_leader_with_nothing_to_train_lets_the_others_go_also_those_that_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "ENDING_SECONDS", 0.05)
    with Leader(tmp_path, place(0)):
        pass
    assert seen(follow(tmp_path)) == ["end"]
    assert not list((tmp_path / ".nodes").iterdir())


def test_the_error_of_another_node_reaches_the_leader(tmp_path: Path) -> None:
    follower = follow(tmp_path)
    with Leader(tmp_path, place(0)) as leader:
        call = leader.call(tmp_path / "fails", StopRequest())
        rendezvous.wait_until(lambda: leader.error_elsewhere(call) is not None, 10)
        error = leader.error_elsewhere(call)
        assert error is not None
        assert error["exit_code"] == ExitCode.DIVERGED and "not finite" in error["error"]
    assert seen(follower)[-1] == "end"


def _lead_and_die(runs: Path) -> None:
    leader = Leader(runs, place(0))
    leader.__enter__()
    leader.call(runs / "run", StopRequest())
    os._exit(9)


def test_followers_leave_with_an_error_when_the_leader_dies(tmp_path: Path) -> None:
    follower = follow(tmp_path)
    leader = FORK.Process(target=_lead_and_die, args=(tmp_path,))
    leader.start()
    leader.join(LONG)
    assert "is gone" in seen(follower)[-1]
    assert not list((tmp_path / ".nodes").iterdir())


def test_a_node_that_does_not_come_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "ARRIVAL_SECONDS", 0.1)
    monkeypatch.setattr(rendezvous, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(rendezvous, "_host_names", lambda nodelist: ["n1", "n2"])
    with (
        pytest.raises(InfrastructureError, match=r"1 of 2 nodes did not join .*: n2"),
        Leader(tmp_path, place(0)) as one,
    ):
        one.call(tmp_path / "run", StopRequest())


def test_a_leader_that_does_not_come_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "ARRIVAL_SECONDS", 0.1)
    assert "first task" in seen(follow(tmp_path))[0]


def test_a_signal_ends_the_wait_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "ENDING_SECONDS", 0.1)
    stop = StopRequest()
    stop.signal = "SIGUSR2"
    with pytest.raises(RunInterrupted), Leader(tmp_path, place(0)) as leader:
        leader.call(tmp_path / "run", stop)


def test_what_an_earlier_start_of_the_job_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "ENDING_SECONDS", 0.1)
    for name in ("7-0-0-1", "7-1-0-1", "77-0-0-1"):
        (tmp_path / ".nodes" / name).mkdir(parents=True)
    with Leader(tmp_path, place(0, restarts=2)):
        left = {path.name for path in (tmp_path / ".nodes").iterdir()}
    assert left == {"77-0-0-1", "7-2-0-0"}


def test_an_address_that_a_node_does_not_find_is_refused_with_what_to_set(tmp_path: Path) -> None:
    check_address(Call(0, tmp_path, "localhost", 1))
    with pytest.raises(SettingsError, match="export MASTER_ADDR"):
        check_address(Call(0, tmp_path, "no-such-host.invalid", 1))


def task(folder: Path, node: int, restarts: int, *settings: str, **more: str) -> subprocess.Popen[str]:
    """Start one task of two as srun would."""
    environment = {
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": str(restarts),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(node),
        "SLURM_NODEID": str(node),
        "MASTER_ADDR": "127.0.0.1",
    }
    return start(folder, *FULL, *settings, "trainer.nodes=2", **environment, **more)


@pytest.mark.slow
def test_two_tasks_train_one_run_go_on_after_a_signal_and_end_with_the_bits_of_one_machine(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    code, _, err = run(whole, *FULL, "trainer.devices=2")
    assert code == ExitCode.DONE, err
    tasks = [task(parts, node, 0, TINY_SECONDS="0.5") for node in (0, 1)]
    wait_for(parts, "*/checkpoints/step-000000001.json")
    # One node alone hears of it; the processes agree.
    tasks[1].send_signal(signal.SIGUSR2)
    printed = [one.communicate(LONG) for one in tasks]
    assert [one.returncode for one in tasks] == [ExitCode.INTERRUPTED, ExitCode.DONE], printed
    tasks = [task(parts, node, 1) for node in (0, 1)]
    printed = [one.communicate(LONG) for one in tasks]
    assert [one.returncode for one in tasks] == [0, 0], printed
    (path,) = parts.glob("logs/runs/*/record.json")
    record = json.loads(path.read_text())
    assert (record["facts"]["world_size"], record["facts"]["nodes"]) == (2, 2)
    assert [one["status"] for one in record["attempts"]] == ["interrupted", "finished"]
    (got,), (expected,) = (list(f.glob("logs/runs/*/model.safetensors")) for f in (parts, whole))
    assert got.read_bytes() == expected.read_bytes()
    assert not list((parts / "logs" / "runs" / ".nodes").iterdir())
