"""The local launcher with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.runs.directory import run_directory
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.local import LocalLauncher, dealt, gpus, launcher_of, share
from ternlab.sweeps.local_settings import LocalCluster
from ternlab.sweeps.plan import Plan, write_plan
from ternlab.sweeps.schedule import carry_out
from ternlab.testing.launcher import LauncherContract
from tests.commands.run_command import LONG, PATHS
from tests.sweeps.made import names, plan_for_contract, plan_of, plan_with_depth

# One launcher process of a test: writes what the server has imported from which it forks runs, starts those of a plan,
# says so, and stays.
STAYS = """
import sys, time
from pathlib import Path
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.local import LocalLauncher
if __name__ == "__main__":
    folder, plan, *runs = sys.argv[1:]
    launcher = LocalLauncher(Path(folder), len(runs), 1)
    look = "import sys; open('loaded', 'w').write(' '.join(sys.modules))"
    looking = launcher._context.Process(target=exec, args=(look,))
    looking.start()
    looking.join()
    launcher.start([Task(run, Path(plan)) for run in runs])
    print("started", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalLauncher]:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    launcher = LocalLauncher(tmp_path / "sweep", workers=2, threads=2)
    yield launcher
    launcher.stop()


def until(true: Callable[[], object], seconds: float = LONG) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def all_ended(launcher: LocalLauncher, count: int) -> dict[str, int]:
    found: dict[str, int] = {}

    def look() -> bool:
        found.update(launcher.ended())
        return len(found) == count

    until(look)
    return found


@pytest.mark.parametrize(
    ("workers", "cores", "processes", "shared"),
    [
        (None, 8, 1, (8, 1)),
        (2, 8, 1, (2, 4)),
        (3, 8, 1, (3, 2)),
        (None, 8, 2, (4, 1)),
        (2, 8, 2, (2, 2)),
        (None, 2, 4, (1, 1)),
        (16, 2, 1, (16, 1)),
    ],
)
def test_cores_are_divided(workers: int | None, cores: int, processes: int, shared: tuple[int, int]) -> None:
    assert share(workers, cores, processes) == shared
    runs, threads = shared
    if workers is None and processes <= cores:
        assert runs * threads * processes <= cores


@pytest.mark.parametrize(
    ("gpus", "workers", "processes", "places"),
    [
        ((), 3, 1, ()),
        (("0", "1", "2"), 3, 1, ("0", "1", "2")),
        (("4", "5", "6", "7"), 2, 2, ("4,5", "6,7")),
        (("0", "1"), 3, 1, ("0", "1", "0")),
        (("0",), 1, 2, ("0",)),
    ],
)
def test_gpus_are_dealt_to_the_places(
    gpus: tuple[str, ...], workers: int, processes: int, places: tuple[str, ...]
) -> None:
    assert dealt(gpus, workers, processes) == places


def test_gpus_are_those_that_this_process_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert gpus() == ("3", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus() == ()


def test_as_many_runs_as_gpus_and_each_sees_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0,1")
    assert launcher_of(tmp_path, plan, LocalCluster())._gpus == ()
    free = plan_of(tmp_path / "runs", "quant=none", "seed=0,1", "trainer.accelerator=auto")
    launcher = launcher_of(tmp_path, free, LocalCluster())
    assert (launcher.free(), launcher._gpus) == (2, ("3", "5"))


def test_several_nodes_are_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0,1", "trainer.nodes=2", "data.batch_size=32")
    with pytest.raises(SettingsError, match="cluster=slurm"):
        launcher_of(tmp_path, plan, LocalCluster())


def test_runs_end_finished_and_what_they_printed_is_removed(tmp_path: Path, launcher: LocalLauncher) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0,1")
    path = write_plan(plan, tmp_path)
    first, second = (trial.run_id for trial in plan.trials)
    launcher.start([Task(run, path) for run in (first, second)])
    assert launcher.free() == 0
    assert all_ended(launcher, 2) == {first: 0, second: 0}
    assert launcher.free() == 2
    launcher.close()
    assert not (tmp_path / "sweep" / "output").exists()
    record = run_directory(tmp_path / "runs", first).record()
    assert record is not None
    assert record["status"] == "finished"
    assert record["command"] == plan.trials[0].command
    # They reach torch.
    assert run_directory(tmp_path / "runs", first).settings().trainer.threads == 2


def test_a_run_that_cannot_begin_leaves_its_words(tmp_path: Path, launcher: LocalLauncher) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0")
    path = write_plan(plan, tmp_path)
    found = json.loads(path.read_text())
    found["bases"][0]["data.batch_size"] = -1
    path.write_text(json.dumps(found))
    run = plan.trials[0].run_id
    launcher.start([Task(run, path)])
    assert all_ended(launcher, 1) == {run: ExitCode.BAD_SETTINGS}
    launcher.close()
    assert "data.batch_size = -1" in launcher.output(run).read_text()
    launcher.tidy([run])
    assert not launcher.output(run).exists()


def test_asked_to_stop_runs_save_and_say_so(
    tmp_path: Path, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0", "trainer.max_epochs=500", "checkpoint.every_steps=1")
    run = plan.trials[0].run_id
    launcher.start([Task(run, write_plan(plan, tmp_path))])
    directory = run_directory(tmp_path / "runs", run)
    until(lambda: list(directory.checkpoints.glob("*.json")))
    launcher.stop()
    assert launcher.ended() == [(run, ExitCode.INTERRUPTED)]
    assert (directory.record() or {})["status"] == "interrupted"


def test_a_run_that_is_killed_ends_with_its_signal(tmp_path: Path, launcher: LocalLauncher) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0", "trainer.max_epochs=500")
    run = plan.trials[0].run_id
    launcher.start([Task(run, write_plan(plan, tmp_path))])
    lock = run_directory(tmp_path / "runs", run).lock()
    until(lambda: (lock.holder() or {}).get("pid"))
    os.kill(int((lock.holder() or {})["pid"]), signal.SIGKILL)
    assert all_ended(launcher, 1) == {run: -signal.SIGKILL}


def test_runs_are_forked_after_the_imports_and_save_and_leave_when_their_launcher_is_killed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plan = plan_of(runs, "quant=none", "seed=0,1", "trainer.max_epochs=500", "checkpoint.every_steps=1")
    ids = [trial.run_id for trial in plan.trials]
    script = tmp_path / "stays.py"
    script.write_text(STAYS)
    variables = {**os.environ, "PYTHONPATH": PATHS}
    path = write_plan(plan, tmp_path)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "sweep"), str(path), *ids], env=variables, cwd=tmp_path
    )
    try:
        directories = [run_directory(runs, run) for run in ids]
        until(lambda: all(list(directory.checkpoints.glob("*.json")) for directory in directories))
        # Each run pays for no import.
        loaded = set((tmp_path / "loaded").read_text().split())
        paid_once = {"torch", "pytorch_lightning", "hydra", "ternlab.training.fit", "ternlab.sweeps.trial"}
        assert paid_once <= loaded
        # Nobody is stopped by a Ctrl-C of the terminal but the launcher.
        pids = [int((directory.lock().holder() or {})["pid"]) for directory in directories]
        assert all(os.getpgid(pid) == pid for pid in pids)
    finally:
        process.kill()
        process.wait()
    until(lambda: not any(directory.lock().held() for directory in directories))
    assert [(directory.record() or {})["status"] for directory in directories] == ["interrupted"] * 2


class TestContract(LauncherContract):
    @pytest.fixture
    def plan(self, tmp_path: Path) -> tuple[Plan, Path]:
        return plan_for_contract(tmp_path)

    @pytest.fixture
    def make_launcher(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Plan], Launcher]:
        monkeypatch.setenv("PYTHONPATH", PATHS)
        return lambda folder, plan: launcher_of(folder, plan, LocalCluster(workers=2, threads=1))


def test_a_sweep_whose_runs_need_others_at_several_levels(launcher: LocalLauncher, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    # The rate is so small that a step leaves every weight as it is; that of the root is not.
    plan = plan_with_depth(runs, "optim.lr=1e-20", "trainer.max_epochs=1")
    progress = carry_out(
        plan,
        write_plan(plan, tmp_path),
        runs,
        launcher,
        retries=0,
        asked_to_stop=lambda: False,
        look=lambda progress: None,
    )
    assert progress.done == set(plan.configs), progress.failed
    assert all(len((run_directory(runs, run).record() or {})["attempts"]) == 1 for run in plan.configs)
    # Each took its first weights from the one before it; the trial has drawn its own, by the same seed as the root.
    run = names(plan)
    weights = {role: load_file(run_directory(runs, name).weights_file) for role, name in run.items()}
    first = weights["root"]["1.weight"]
    assert all(torch.equal(weights[role]["1.weight"], first) for role in ("left", "right", "baseline"))
    assert not torch.equal(weights["trial"]["1.parametrizations.weight.original"], first)
