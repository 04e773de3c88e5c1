"""The launcher without Ray: what it asks of its driver, what it makes of the news, and what it refuses."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import InfrastructureError, SettingsError
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.on_ray import launcher as on_ray
from ternlab.sweeps.on_ray import process as ray_process
from ternlab.sweeps.on_ray import refusals as ray_refusals
from ternlab.sweeps.on_ray.connect import Request, environment, slots
from ternlab.sweeps.on_ray.launcher import RayLauncher, launcher_of
from ternlab.sweeps.on_ray.settings import RayCluster
from ternlab.sweeps.plan import Plan, write_plan
from tests.sweeps.made import plan_of


class FakeDriver:
    """Answers as told and keeps what it was asked for."""

    def __init__(self, answers: list[dict[str, Any]], printed: str = "") -> None:
        self.answers, self.printed = answers, printed
        self.asked: list[dict[str, Any]] = []
        self.closed = False

    def __call__(self, *arguments: Any) -> FakeDriver:
        return self

    def news(self, seconds: float | None = 0.0) -> dict[str, Any] | None:
        if self.answers and "gone" in self.answers[0]:
            raise InfrastructureError("Ray no longer responds: its driver exited with code -6.")
        return self.answers.pop(0) if self.answers else None

    def first_answer(self, seconds: float, hopeless: str) -> dict[str, Any]:
        return self.news() or {}

    def said(self) -> str:
        return self.printed

    def send(self, request: dict[str, Any]) -> None:
        self.asked.append(request)

    def kill(self) -> None:
        self.closed = True

    close = kill


@pytest.fixture
def plan(tmp_path: Path) -> tuple[Plan, Path]:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0,1,2")
    (tmp_path / "sweep").mkdir()
    return plan, write_plan(plan, tmp_path / "sweep")


def launcher(plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, **more: Any) -> RayLauncher:
    monkeypatch.setattr(on_ray, "DriverProcess", driver)
    return RayLauncher(plan[1].parent, plan[0], RayCluster(**more))


def _node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "most"),
    [
        ([_node(8)], 1, 0, 8),
        ([_node(8)], 3, 0, 2),
        ([_node(2), _node(2)], 3, 0, 0),
        ([_node(8, 2), _node(8)], 2, 1, 2),
        ([_node(4, 8)], 2, 1, 2),
        ([_node(8), _node(8, alive=False)], 4, 0, 2),
        ([{"Alive": True, "Resources": {}}], 1, 0, 0),
    ],
)
def test_slots_are_counted_node_by_node(nodes: list[dict[str, Any]], cpus: int, gpus: int, most: int) -> None:
    assert slots(nodes, Request(None, 1, cpus, gpus, "")) == most


def test_a_cluster_of_its_own_joins_nobody_and_has_its_own_token() -> None:
    mine = {"RAY_ADDRESS": "elsewhere:1", "RAY_AUTH_TOKEN": "theirs", "RAY_AUTH_TOKEN_PATH": "/theirs", "HOME": "/home"}
    one, other = environment(mine, None), environment(mine, None)
    assert one["HOME"] == "/home"
    assert "RAY_ADDRESS" not in one and "RAY_AUTH_TOKEN_PATH" not in one
    assert one["RAY_AUTH_MODE"] == "token"
    assert len({one["RAY_AUTH_TOKEN"], other["RAY_AUTH_TOKEN"], "theirs"}) == 3


def test_with_an_address_the_token_of_the_environment_counts() -> None:
    mine = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/theirs"}
    assert mine.items() <= environment(mine, "host:1").items()
    assert "RAY_AUTH_TOKEN" not in environment(mine, "host:1")
    assert environment({}, "host:1")["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_task_is_strings_and_numbers(plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver([{"connecting": None}, {"ready": 2}])
    run = plan[0].trials[0].run_id
    launcher(plan, monkeypatch, driver, cpus_per_trial=4, gpus_per_trial=2).start([Task(run, plan[1])])
    [request] = driver.asked
    assert request["start"] == {
        "run": run,
        "settings": {"seed": 0},
        "plan": str(plan[1]),
        "runs": str(plan[1].parents[1] / "runs"),
        "folder": str(Path.cwd()),
        "sweep": str(plan[1].parent),
        "cpus": 4,
        "gpus": 2,
        "threads": 2,
        "arguments": {"same_code": True, "devices": 2, "accelerator": "gpu"},
    }


@pytest.mark.parametrize(("workers", "free"), [(None, 4), (1, 1), (2, 4), (9, 4)])
def test_as_many_wait_as_run_unless_fewer_are_wanted(
    plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch, workers: int | None, free: int
) -> None:
    one = launcher(plan, monkeypatch, FakeDriver([{"connecting": None}, {"ready": 2}]), workers=workers)
    assert one.free() == free
    one.start([Task(plan[0].trials[0].run_id, plan[1])])
    assert one.free() == free - 1


def test_nodes_that_come_and_go_change_how_many_run(plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver([{"connecting": None}, {"ready": 2}])
    one = launcher(plan, monkeypatch, driver)
    assert one.free() == 4
    driver.answers = [{"slots": 5}]
    assert one.free() == 10
    driver.answers = [{"slots": 0}]
    assert one.free() == 0


def test_an_end_is_told_once_and_its_words_are_kept(plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver([{"connecting": None}, {"ready": 2}])
    one = launcher(plan, monkeypatch, driver)
    first, second = (trial.run_id for trial in plan[0].trials[:2])
    one.start([Task(first, plan[1]), Task(second, plan[1])])
    driver.answers = [{"ended": first, "code": 0, "said": ""}, {"ended": second, "code": -9, "said": "the actor died"}]
    assert one.ended() == [(first, 0), (second, -9)]
    assert one.ended() == []
    assert one.free() == 4
    output = plan[1].parent / "output"
    assert [path.name for path in output.iterdir()] == [f"{second}.txt"]
    assert (output / f"{second}.txt").read_text() == "the actor died\n"


def test_a_driver_that_is_gone_is_an_infrastructure_error(
    plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver([{"connecting": None}, {"ready": 2}])
    one = launcher(plan, monkeypatch, driver)
    one.start([Task(plan[0].trials[0].run_id, plan[1])])
    driver.answers = [{"gone": True}]
    with pytest.raises(InfrastructureError):
        one.ended()
    one.stop()
    one.close()
    assert driver.closed


@pytest.mark.parametrize(
    ("answers", "printed", "address", "words"),
    [
        ([{"ready": 0}], "", "h:1", "no node"),
        ([{"refused": "Version mismatch"}], "", "h:1", "Version mismatch"),
        ([{}], "", "h:1", "does not respond like a Ray cluster"),
        ([{}], "... InvalidAuthToken: ...", "h:1", "RAY_AUTH_TOKEN_PATH"),
        ([{"gone": True}], "", None, "cluster=local"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused(
    plan: tuple[Plan, Path],
    monkeypatch: pytest.MonkeyPatch,
    answers: list[dict[str, Any]],
    printed: str,
    address: str | None,
    words: str,
) -> None:
    driver = FakeDriver([{"connecting": None}, *answers], printed)
    one = launcher(plan, monkeypatch, driver, address=address)
    with pytest.raises(SettingsError, match=words):
        one.connect()
    assert driver.closed


@pytest.mark.parametrize("address", ["auto", "local", "ray://host:10001", "host", "host:", "host:123456", "a b:1", ""])
def test_what_is_no_address_is_refused(plan: tuple[Plan, Path], address: str) -> None:
    with pytest.raises(SettingsError, match="HOST:PORT"):
        launcher_of(plan[1].parent, plan[0], RayCluster(address=address))


def test_a_port_where_nobody_listens_is_refused_before_anything_is_started(
    plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(on_ray, "DriverProcess")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"cluster.address = {address}: nothing responds"):
            launcher_of(plan[1].parent, plan[0], RayCluster(address=address))


def test_more_cores_than_this_machine_has_are_refused(plan: tuple[Plan, Path]) -> None:
    with pytest.raises(SettingsError, match="cpus_per_trial=100000"):
        launcher_of(plan[1].parent, plan[0], RayCluster(cpus_per_trial=100_000))


def test_without_ray_it_says_what_to_install(plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'ternlab\[sweeps\]'"):
        launcher_of(plan[1].parent, plan[0], RayCluster())


def test_nothing_is_started_for_a_sweep_that_is_finished(
    plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(on_ray, "DriverProcess")
    one = launcher_of(plan[1].parent, plan[0], RayCluster())
    assert one.running() == ()
    assert "1 cores each" in one.describe([])[0]
    one.stop()
    one.tidy([])
    one.close()


def test_a_driver_that_cannot_even_begin_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_process.sys, "executable", "/bin/false")
    driver = ray_process.DriverProcess(None, 1, 1, 0)
    with pytest.raises(InfrastructureError, match="code 1"):
        driver.news(None)
    with pytest.raises(InfrastructureError):
        driver.news()
    driver.send({"stop": []})
    driver.close()
    assert not driver._scratch.exists()


def test_the_folder_of_ray_has_a_short_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(ray_process.tempfile, "tempdir", str(long))
    scratch = ray_process._scratch()
    assert len(str(scratch)) < 40
    assert scratch.stat().st_mode & 0o077 == 0
    scratch.rmdir()


def test_messages_say_what_is_asked_for() -> None:
    error = ray_refusals.too_much(RayCluster(cpus_per_trial=3, gpus_per_trial=2))
    assert "cluster.cpus_per_trial=3 cluster.gpus_per_trial=2" in str(error)
