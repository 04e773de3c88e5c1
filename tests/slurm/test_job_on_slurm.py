"""One run as a job of a real SLURM: what takes its place from it, and that it goes on exactly where it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from tests.commands.run_command import ROOT, run
from tests.slurm.cluster import Cluster, needs_slurm, wait_until
from tests.slurm.jobs import FULL, Job, submit, submit_recorded

pytestmark = [pytest.mark.cluster, needs_slurm]


@pytest.fixture(autouse=True)
def _nothing_left(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.empty()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final weights of a run that nobody interrupts, outside of SLURM."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    code, _, err = run(folder, *FULL)
    assert code == ExitCode.DONE, err
    (path,) = folder.glob("logs/runs/*/model.safetensors")
    return path.read_bytes()


def assert_went_on_once(job: Job, weights: bytes) -> None:
    """The job was started twice, its run went on, in the same folder, to the bits of an uninterrupted one."""
    end = job.wait("COMPLETED")
    record = job.record()
    assert end["Restarts"] == "1", job.output()
    assert [attempt["job"] for attempt in record["attempts"]] == [job.id, job.id]
    assert record["attempts"][0]["step"] == 0 and record["attempts"][1]["step"] >= 1
    assert job.weights() == weights


@pytest.mark.parametrize("grace", [0, 3])
def test_a_preempted_job_is_requeued_once_and_ends_with_the_same_bits(
    grace: int, cluster: Cluster, tmp_path: Path, weights: bytes
) -> None:
    cluster.call("scontrol", "update", "PartitionName=low", f"GraceTime={grace}")
    try:
        job = submit(cluster, tmp_path, ["--exclusive"], *FULL)
        job.wait_for_step()
        other = cluster.submit("--nodes=2", "--exclusive", "--partition=high", "--output=/dev/null", "--wrap", "true")
        cluster.wait_for(other, "COMPLETED")
        assert_went_on_once(job, weights)
    finally:
        cluster.call("scontrol", "update", "PartitionName=low", "GraceTime=0")


def test_a_cancelled_job_saves_and_is_not_requeued(cluster: Cluster, tmp_path: Path) -> None:
    job = submit_recorded(cluster, tmp_path, *FULL)
    job.wait_for_step()
    cluster.call("scancel", job.id)
    wait_until((tmp_path / "exit.json").exists, "the record of the end")
    end = job.wait("CANCELLED")
    assert end["Restarts"] == "0"
    assert job.record()["status"] == "interrupted"
    assert json.loads((tmp_path / "exit.json").read_text())["code"] == ExitCode.INTERRUPTED


def test_a_training_that_is_killed_leaves_a_record_of_its_end(cluster: Cluster, tmp_path: Path) -> None:
    job = submit_recorded(cluster, tmp_path, *FULL)
    job.wait_for_step()
    os.kill(json.loads((job.run() / "lock").read_text())["pid"], signal.SIGKILL)
    end = job.wait("FAILED")
    left = json.loads((tmp_path / "exit.json").read_text())
    assert (left["code"], left["signal"], left["job"], left["restarts"]) == (None, "SIGKILL", job.id, 0)
    assert end["Restarts"] == "0"


def test_a_job_whose_node_is_lost_is_requeued_by_slurm_and_goes_on(
    cluster: Cluster, tmp_path: Path, weights: bytes
) -> None:
    job = submit(cluster, tmp_path, [], *FULL)
    job.wait_for_step()
    node = cluster.job(job.id)["NodeList"]
    # As when the machine goes off: its slurmd and all processes of the job, without a word to anybody.
    slurmd = int((cluster.folder / "run" / f"slurmd.{node}.pid").read_text())
    for process in (slurmd, *cluster.pids(job.id)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        assert_went_on_once(job, weights)
    finally:
        cluster.call("slurmd", "-f", str(cluster.folder / "slurm.conf"), "-N", node)
        cluster.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)


def test_several_tasks_for_one_run_are_refused_with_the_lines(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "wrong.sh"
    script.write_text(f"#!/bin/bash\nsrun python {ROOT}/src/train.py quant=none\n")
    job = submit(cluster, tmp_path, ["--nodes=1", "--gpus-per-node=0"], *FULL, "trainer.nodes=2", seconds=0)
    end = job.wait("FAILED")
    assert end["ExitCode"] == f"{int(ExitCode.BAD_SETTINGS)}:0"
    assert "#SBATCH --nodes=2\n    #SBATCH --ntasks-per-node=1" in job.output()
    assert not (tmp_path / "logs").exists()
    done = cluster.submit("--ntasks=2", "--nodes=1", f"--output={tmp_path}/direct.txt", str(script), cwd=tmp_path)
    assert cluster.wait_for(done, "FAILED")["ExitCode"] == f"{int(ExitCode.BAD_SETTINGS)}:0"
    assert "srun started 2" in (tmp_path / "direct.txt").read_text()


def test_settings_reach_the_training_as_they_were_typed(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, [], *FULL, "tags=['$(touch stolen) ; a b','x']", seconds=0)
    job.wait("COMPLETED")
    assert job.record()["tags"] == ["$(touch stolen) ; a b", "x"]
    assert not list(tmp_path.rglob("stolen"))


@pytest.mark.slow
def test_a_job_that_is_out_of_time_is_requeued_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    # SLURM counts in minutes and looks every half minute: the signal comes somewhat early.
    job = submit(cluster, tmp_path, ["--time=1", "--signal=USR2@25"], *FULL, "trainer.max_epochs=16", seconds=0.6)
    assert int(job.wait("COMPLETED", seconds=300)["Restarts"]) >= 1
    record = job.record()
    assert record["attempts"][0]["status"] == "interrupted"
    assert record["attempts"][1]["step"] > 0
