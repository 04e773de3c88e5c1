"""The launcher with real Ray: a cluster that runs already, with a token, and one of its own."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode, InfrastructureError, SettingsError
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.on_ray.launcher import RayLauncher, launcher_of
from ternlab.sweeps.on_ray.settings import RayCluster
from ternlab.sweeps.plan import Plan
from ternlab.testing.launcher import LauncherContract
from tests.sweeps.made import plan_for_contract

pytestmark = [
    pytest.mark.cluster,
]
_SECONDS = 120.0


def wait(true: Callable[[], object]) -> None:
    end = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def existing() -> Iterator[tuple[str, Path]]:
    """Return address and token file of a cluster that this test has started: one node with two cores."""
    folder = Path(tempfile.mkdtemp(prefix="tern-t-", dir="/tmp"))
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    words = ["ray", "start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block"]
    words += [f"--temp-dir={folder}/ray", "--object-store-memory=80000000", "--disable-usage-stats"]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait(lambda: "Ray runtime started" in (folder / "log").read_text() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield f"127.0.0.1:{port}", token
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def with_token(existing: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(existing[1]))
    return existing[0]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Path]:
    # Runs have a plugin of these tests, which is found from here.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return plan_for_contract(tmp_path)


class TestContract(LauncherContract):
    @pytest.fixture
    def plan(self, plan: tuple[Plan, Path]) -> tuple[Plan, Path]:
        return plan

    @pytest.fixture
    def make_launcher(self, with_token: str) -> Callable[[Path, Plan], Launcher]:
        return lambda folder, plan: launcher_of(folder, plan, RayCluster(address=with_token))


def test_results_are_kept_for_tunes_own_tools(with_token: str, plan: tuple[Plan, Path], tmp_path: Path) -> None:
    whole, file = plan
    short = whole.trials[0]
    for _ in range(2):  # a sweep that is run again adds to the same results
        launcher = launcher_of(file.parent, whole, RayCluster(address=with_token, results=str(tmp_path / "tune")))
        launcher.start([Task(short.run_id, file)])
        assert _end_of(launcher) == [(short.run_id, ExitCode.DONE)]
        launcher.close()
    from ray.tune import ExperimentAnalysis

    found = ExperimentAnalysis(str(tmp_path / "tune" / whole.sweep_id)).dataframe().to_dict("records")
    record = run_directory(tmp_path / "runs", short.run_id).record() or {}
    for row in found:
        assert row["config/run"] == short.run_id and row["config/settings/trainer.max_epochs"] == 1
        assert {name: row[name] for name in record["metrics"]} == record["metrics"]
    rows = [path.read_text().splitlines() for path in (tmp_path / "tune").glob("*/*/result.json")]
    assert found and len(rows) == 2 and all(1 <= len(lines) <= 2 for lines in rows)


def test_a_plan_that_the_node_does_not_see_is_named(with_token: str, plan: tuple[Plan, Path]) -> None:
    whole, file = plan
    launcher = launcher_of(file.parent, whole, RayCluster(address=with_token))
    try:
        launcher.start([Task("elsewhere", Path("/no/such/folder/plan.json"))])
        assert _end_of(launcher) == [("elsewhere", ExitCode.BAD_SETTINGS)]
    finally:
        launcher.close()
    said = (file.parent / "output" / "elsewhere.txt").read_text()
    assert "/no/such/folder/plan.json" in said and "shared by all nodes" in said


@pytest.mark.parametrize("token", ["", "0123456789abcdef"])
def test_a_wrong_token_is_refused_in_seconds(
    existing: tuple[str, Path], plan: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token" if token else "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with pytest.raises(SettingsError, match="RAY_AUTH_TOKEN_PATH") as caught:
        launcher_of(plan[1].parent, plan[0], RayCluster(address=existing[0]))
    assert token not in str(caught.value) or not token
    assert sorted(plan[1].parent.iterdir()) == [plan[1]]


@pytest.mark.parametrize("more", [{"gpus_per_trial": 1}, {"cpus_per_trial": 3}])
def test_what_no_node_has_is_refused(with_token: str, plan: tuple[Plan, Path], more: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="no node of the cluster has that many"):
        launcher_of(plan[1].parent, plan[0], RayCluster(address=with_token, **more))


def test_a_server_that_is_not_ray_is_refused(plan: tuple[Plan, Path]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(SettingsError, match="Ray cannot connect"):
            launcher_of(plan[1].parent, plan[0], RayCluster(address=f"127.0.0.1:{server.getsockname()[1]}"))


@pytest.fixture
def own(plan: tuple[Plan, Path]) -> Iterator[RayLauncher]:
    """Return a launcher with a cluster of its own, which trains the endless run."""
    whole, file = plan
    launcher = launcher_of(file.parent, whole, RayCluster(workers=1))
    assert launcher.free() > 0
    _begin(launcher, plan)
    yield launcher
    launcher.stop()
    launcher.close()


def test_a_cluster_of_its_own_lives_through_deaths_and_leaves_nothing(
    own: RayLauncher, plan: tuple[Plan, Path]
) -> None:
    run, directory = _endless(plan)
    driver = _children(os.getpid(), "ternlab.sweeps.on_ray.driver")[0]
    scratch = own._driver._scratch if own._driver else Path()
    listening = _listening(_family(driver))
    assert listening, "nothing of Ray was found"
    assert {address for address in listening if not re.fullmatch(r"(\[::ffff:)?127\.0\.0\.1\]?", address)} == set()

    # Threads sleep while they wait; OpenMP reads the environment with which the actor's fork server was started.
    assert b"OMP_WAIT_POLICY=passive" in Path(f"/proc/{_holder(directory)}/environ").read_bytes().split(b"\0")
    os.kill(_holder(directory), signal.SIGKILL)
    assert _end_of(own) == [(run, -signal.SIGKILL)]

    _begin(own, plan)
    [actor] = _children(driver, "ray::RunInActor")
    os.kill(actor, signal.SIGKILL)
    assert _end_of(own) == [(run, -signal.SIGKILL)]
    # The actor has died, not the run: it saves and leaves by itself.
    wait(lambda: not directory.lock().held())
    assert (directory.record() or {})["status"] == "interrupted"

    _begin(own, plan)
    own.stop()
    assert own.ended() == [(run, ExitCode.INTERRUPTED)]
    family = _family(driver)
    own.close()
    wait(lambda: not [pid for pid in family if _alive(pid)])
    assert not scratch.exists()


def test_a_lost_driver_is_an_infrastructure_error_and_the_run_saves(own: RayLauncher, plan: tuple[Plan, Path]) -> None:
    driver = _children(os.getpid(), "ternlab.sweeps.on_ray.driver")[0]
    os.kill(driver, signal.SIGKILL)

    def lost() -> bool:
        try:
            own.ended()
        except InfrastructureError as error:
            return "no longer responds" in str(error)
        return False

    wait(lost)
    _, directory = _endless(plan)
    wait(lambda: not directory.lock().held())
    assert (directory.record() or {})["status"] == "interrupted"


def _endless(plan: tuple[Plan, Path]) -> tuple[str, RunDirectory]:
    run = plan[0].trials[-1].run_id
    return run, run_directory(plan[0].configs[run]["paths"]["runs"], run)


def _begin(launcher: RayLauncher, plan: tuple[Plan, Path]) -> None:
    """Start the endless run and wait until it has saved something of its own."""
    run, directory = _endless(plan)
    before = set(directory.checkpoints.glob("*.json"))
    launcher.start([Task(run, plan[1])])
    wait(lambda: set(directory.checkpoints.glob("*.json")) - before)


def _end_of(launcher: RayLauncher) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    wait(lambda: found.extend(launcher.ended()) or found)
    return found


def _holder(directory: RunDirectory) -> int:
    return int(json.loads((directory.path / "lock").read_text())["pid"])


def _processes() -> list[tuple[int, int, str]]:
    shown = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in shown.splitlines()[1:]]
    return [(int(pid), int(parent), command) for pid, parent, command in rows]


def _family(first: int) -> set[int]:
    found, rows = {first}, _processes()
    while more := {pid for pid, parent, _ in rows if parent in found} - found:
        found |= more
    return found


def _children(first: int, named: str) -> list[int]:
    family = _family(first)
    return [pid for pid, _, command in _processes() if pid in family and named in command]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _listening(family: set[int]) -> set[str]:
    """Return the addresses on which these processes listen."""
    found = set()
    shown = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    for line in shown.splitlines():
        if {int(pid) for pid in re.findall(r"pid=(\d+)", line)} & family:
            found.add(line.split()[3].rpartition(":")[0])
    return found
