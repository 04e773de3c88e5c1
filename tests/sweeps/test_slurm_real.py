"""Sweeps on a real SLURM of two nodes on this computer."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.on_slurm.control import cancel, in_queue
from ternlab.sweeps.on_slurm.launcher import SlurmLauncher, launcher_of
from ternlab.sweeps.on_slurm.settings import SlurmCluster
from ternlab.sweeps.plan import Plan, write_plan
from ternlab.sweeps.schedule import Progress, carry_out
from ternlab.testing.launcher import LauncherContract
from tests.commands.run_command import ROOT
from tests.slurm.cluster import Cluster, needs_slurm, one_host_cluster, wait_until
from tests.sweeps.made import names, plan_for_contract, plan_of, plan_with_depth

pytestmark = [pytest.mark.cluster, needs_slurm]

LONG = ("quant=none", "trainer.max_epochs=400", "checkpoint.every_steps=1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with one_host_cluster(tmp_path_factory.mktemp("c")) as running:
        yield running


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Jobs have the environment in which they were submitted.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))


class Sweep:
    """A plan with its folder, and what carries it out."""

    def __init__(self, folder: Path, *typed: str, **cluster: object) -> None:
        self.runs = folder / "runs"
        # A name that a shell would make something else of.
        self.folder = folder / 'it\'s a "sweep" of 100%j'
        self.folder.mkdir()
        self.plan = plan_of(self.runs, *typed)
        self.file = write_plan(self.plan, self.folder)
        self.cluster = SlurmCluster.model_validate({"name": "slurm", **cluster})
        self.stop = threading.Event()

    def launcher(self) -> SlurmLauncher:
        return launcher_of(self.folder, self.plan, self.cluster)

    def go(self, retries: int = 0) -> Progress:
        launcher = self.launcher()
        progress = carry_out(
            self.plan,
            self.file,
            self.runs,
            launcher,
            retries=retries,
            asked_to_stop=self.stop.is_set,
            look=lambda progress: None,
        )
        launcher.tidy(progress.done)
        launcher.close()
        return progress

    def directory(self, run: str) -> RunDirectory:
        return run_directory(self.runs, run)

    def record(self, run: str) -> dict[str, object]:
        return self.directory(run).record() or {}

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*"))

    def begin(self) -> tuple[SlurmLauncher, str]:
        """Start the only trial and wait until it trains; return the launcher and what SLURM calls its job."""
        launcher = self.launcher()
        assert list(launcher.running()) == []
        run = self.plan.trials[0].run_id
        launcher.start([Task(run, self.file)])
        wait_until(lambda: list(self.directory(run).checkpoints.glob("*.json")), "a checkpoint", 120)
        return launcher, launcher._tasks.id(run)


def ended(launcher: Launcher, seconds: float = 120) -> dict[str, int]:
    found: dict[str, int] = {}

    def look() -> bool:
        found.update(launcher.ended())
        return bool(found)

    wait_until(look, "the end of a run", seconds)
    return found


class TestContract(LauncherContract):
    @pytest.fixture
    def plan(self, tmp_path: Path) -> tuple[Plan, Path]:
        return plan_for_contract(tmp_path)

    @pytest.fixture
    def make_launcher(self, cluster: Cluster) -> Callable[[Path, Plan], Launcher]:
        return lambda folder, plan: launcher_of(folder, plan, SlurmCluster())


def test_a_sweep_from_its_baselines_to_its_end(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quant=tga,twn", "seed=0,1", cpus_per_task=1)
    progress = sweep.go()
    assert progress.done == set(sweep.plan.configs)
    for run in sweep.plan.configs:
        record = sweep.record(run)
        assert record["status"] == "finished"
        assert len(record["attempts"]) == 1  # type: ignore[arg-type]
    assert sweep.files() == ["plan.json"]
    assert in_queue(sweep.folder, sweep.plan.sweep_id) == {}


def test_runs_that_need_runs_that_need_runs(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quant=none", cpus_per_task=1)
    sweep.plan = plan_with_depth(sweep.runs)
    sweep.file = write_plan(sweep.plan, sweep.folder)
    progress = sweep.go()
    assert progress.done == set(sweep.plan.configs), progress.failed
    run = names(sweep.plan)
    began = {role: sweep.record(name)["started"] for role, name in run.items()}
    ended = {role: sweep.record(name)["finished"] for role, name in run.items()}
    for role, needed in {"left": "root", "right": "root", "baseline": "right", "trial": "baseline"}.items():
        assert str(ended[needed]) <= str(began[role])
    assert all(len(sweep.record(name)["attempts"]) == 1 for name in run.values())  # type: ignore[arg-type]
    assert sweep.files() == ["plan.json"]


def test_a_baseline_that_fails_takes_its_trials_along(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quant=tga,twn", "seed=0")
    (baseline,) = sweep.plan.baselines
    # Its folder cannot be made.
    sweep.runs.mkdir()
    (sweep.runs / baseline).write_text("in the way")
    progress = sweep.go()
    assert progress.failed == dict.fromkeys(sweep.plan.configs, progress.failed[baseline])
    assert progress.failed[baseline] == ExitCode.BAD_SETTINGS
    assert not any(sweep.record(trial.run_id) for trial in sweep.plan.trials)
    assert sweep.files().count(f"{baseline}.txt") == 1


def test_the_setup_lines_of_a_job_that_never_reached_python_are_kept(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quant=none", "seed=0", setup=("echo no such module >&2; exit 9",))
    run = sweep.plan.trials[0].run_id
    assert sweep.go().failed == {run: ExitCode.FAILED}
    assert "no such module" in (sweep.folder / "output" / f"{run}.txt").read_text()
    assert not (sweep.folder / "slurm").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"partition": "lwo"}, "did you mean low"),
        ({"gpus_per_node": 3}, "no node of partition low has more than 2"),
        ({"nodes": 3}, "has only 2 nodes"),
        ({"cpus_per_task": 5}, "no node of partition low has more than 4"),
        ({"time": 2000, "partition": "high"}, "allows at most 1440 minutes"),
        ({"constraint": "nothing"}, "cluster.*: SLURM rejects this job"),
    ],
)
def test_what_the_cluster_has_not_got_is_refused(
    cluster: Cluster, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    cluster.call("scontrol", "update", "partitionname=high", "maxtime=1-0")
    sweep = Sweep(tmp_path, "quant=none", "trainer.accelerator=auto", **settings)
    with pytest.raises(SettingsError, match=words):
        sweep.launcher()
    assert sweep.files() == ["plan.json"]


def test_preempted_it_goes_on_and_ends_with_the_same_bits(cluster: Cluster, tmp_path: Path) -> None:
    words = ("quant=none", "seed=0", "trainer.max_epochs=120", "checkpoint.every_steps=1")
    reference, sweep = (tmp_path / name for name in ("reference", "sweep"))
    reference.mkdir(), sweep.mkdir()
    calm, shaken = Sweep(reference, *words), Sweep(sweep, *words, partition="low")
    run = shaken.plan.trials[0].run_id
    directory = shaken.directory(run)
    disturb = threading.Thread(target=_preempt, args=(cluster, directory), daemon=True)
    disturb.start()
    progress = shaken.go()
    disturb.join()
    assert progress.done == set(shaken.plan.configs)
    attempts = shaken.record(run)["attempts"]
    assert len(attempts) >= 2  # type: ignore[arg-type]
    assert calm.go().done == set(calm.plan.configs)
    assert calm.directory(run).weights_file.read_bytes() == directory.weights_file.read_bytes()
    assert shaken.record(run)["metrics"] == calm.record(run)["metrics"]


def _preempt(cluster: Cluster, directory: RunDirectory) -> None:
    wait_until(lambda: list(directory.checkpoints.glob("*.json")), "a checkpoint", 120)
    taker = cluster.submit("-p", "high", "-N2", "-c4", "--ntasks-per-node=1", "-o", "/dev/null", "--wrap", "sleep 2")
    cluster.wait_for(taker, "COMPLETED")


def test_a_run_whose_node_is_lost_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, *LONG)
    launcher, job = sweep.begin()
    run = sweep.plan.trials[0].run_id
    node = cluster.job(job)["NodeList"]
    cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    wait_until(lambda: cluster.job(job)["Restarts"] == "1", "a requeueing")

    def begun_again() -> bool:
        # On a busy computer the run is still leaving the node that counts as lost; SLURM then holds the job.
        if cluster.job(job)["Reason"].startswith("launch_failed"):
            cluster.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)
            cluster.call("scontrol", "release", job, check=False)
        attempts = sweep.record(run)["attempts"]
        assert isinstance(attempts, list)
        return len(attempts) == 2

    wait_until(begun_again, "a second attempt", 180)
    assert launcher.ended() == []
    assert cancel(sweep.folder, sweep.plan.sweep_id) == 1
    assert ended(launcher) == {run: ExitCode.INTERRUPTED}
    cluster.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    cluster.empty()


def test_cancelled_from_another_terminal_it_has_saved(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, *LONG)
    launcher, job = sweep.begin()
    run = sweep.plan.trials[0].run_id
    assert in_queue(sweep.folder, sweep.plan.sweep_id) == {run: "RUNNING"}
    assert cancel(sweep.folder, sweep.plan.sweep_id) == 1
    assert ended(launcher) == {run: ExitCode.INTERRUPTED}
    assert sweep.record(run)["status"] == "interrupted"
    assert cluster.job(job)["JobState"] == "CANCELLED"
    assert in_queue(sweep.folder, sweep.plan.sweep_id) == {}


def test_a_launcher_that_comes_later_finds_the_jobs(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, *LONG)
    _, job = sweep.begin()
    run = sweep.plan.trials[0].run_id
    later = sweep.launcher()
    assert list(later.running()) == [run]
    assert later._tasks.id(run) == job
    later.stop_runs([run])
    assert ended(later) == {run: ExitCode.INTERRUPTED}
    later.tidy([run])
    later.close()
    assert sweep.files() == ["plan.json"]


def test_a_job_that_slurm_holds_is_told_of(cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweep = Sweep(tmp_path, *LONG)
    launcher, job = sweep.begin()
    cluster.call("scontrol", "requeuehold", job)
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: [launcher.ended(), caplog.text][1], "a warning")
    assert f"scontrol release {job}" in caplog.text
    cancel(sweep.folder, sweep.plan.sweep_id)
    assert ended(launcher) == {sweep.plan.trials[0].run_id: ExitCode.INTERRUPTED}


def test_two_processes_on_each_of_two_nodes(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quant=none", "seed=0", nodes=2, processes_per_node=1, cpus_per_task=1)
    progress = sweep.go()
    output = "\n".join(path.read_text() for path in sweep.folder.rglob("output/*"))
    assert progress.done == set(sweep.plan.configs), output
    settings = sweep.directory(sweep.plan.trials[0].run_id).settings()
    assert settings.trainer.nodes == 2


def test_with_accounting(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with one_host_cluster(tmp_path_factory.mktemp("a"), accounting=True) as cluster:
        sweep = Sweep(_made(tmp_path / "1"), "quant=none", "seed=0")
        assert sweep.go().done == set(sweep.plan.configs)
        long = Sweep(_made(tmp_path / "2"), *LONG)
        launcher, job = long.begin()
        run = long.plan.trials[0].run_id
        assert cluster.call("sacct", "-nXP", "-j", job, "-o", "State") == "RUNNING"
        launcher.stop_runs([run])
        assert ended(launcher) == {run: ExitCode.INTERRUPTED}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
