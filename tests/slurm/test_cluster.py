"""The cluster for trying things at home: what the other tests with a real SLURM stand on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.slurm.cluster import SCRIPT, Cluster, needs_slurm, one_host_cluster

pytestmark = [pytest.mark.cluster, needs_slurm]


def alive(folder: Path) -> list[str]:
    """Return the command lines of the processes of a cluster."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{folder}/" in line:
            found.append(line)
    return found


def test_jobs_run_on_both_nodes_and_are_given_gpus_and_nothing_is_left(tmp_path: Path) -> None:
    before = os.environ.get("SLURM_CONF")
    with one_host_cluster(tmp_path, nodes=3, gpus=1) as cluster:
        assert len(alive(cluster.folder)) >= 5
        said = cluster.call(
            "srun", "-N3", "--gpus-per-node=1", "sh", "-c", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
        )
        assert sorted(said.splitlines()) == ["n1 0", "n2 0", "n3 0"]
        # A job that ignores TERM must not outlive the cluster.
        cluster.submit("--output=/dev/null", "--wrap", "trap '' TERM; while true; do sleep 1; done")
        cluster.wait_for("2", "RUNNING")
    assert alive(cluster.folder) == []
    assert os.environ.get("SLURM_CONF") == before


def test_partition_high_takes_the_place_of_low_whose_job_is_requeued(cluster: Cluster) -> None:
    low = cluster.submit("--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 100")
    cluster.wait_for(low, "RUNNING")
    high = cluster.submit("--nodes=2", "--exclusive", "--output=/dev/null", "--partition=high", "--wrap", "true")
    cluster.wait_for(high, "COMPLETED")
    assert cluster.job(low)["Restarts"] == "1"
    cluster.empty()


def test_an_array_larger_than_the_limit_is_refused(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="Invalid job array"):
        cluster.submit("--array=0-1001", "--wrap", "true")


def test_without_accounting_sacct_says_so_and_with_it_knows_the_job(cluster: Cluster, tmp_path: Path) -> None:
    assert subprocess.run(["sacct"], capture_output=True).returncode == 1
    with one_host_cluster(tmp_path, nodes=1, gpus=0, accounting=True) as accounted:
        job = accounted.submit("--output=/dev/null", "--wrap", "exit 7")
        accounted.wait_for(job, "FAILED")
        state = accounted.call("sacct", "--jobs", job, "--noheader", "--parsable2", "--format=State,ExitCode")
        assert state.splitlines()[0] == "FAILED|7:0"


def test_what_is_missing_is_said_with_exit_code_2(tmp_path: Path) -> None:
    bash = "/bin/bash"
    done = subprocess.run([bash, SCRIPT, "start"], text=True, capture_output=True, env={"PATH": str(tmp_path)})
    assert (done.returncode, "apt-get install slurm-wlm munge" in done.stderr) == (2, True)
    done = subprocess.run([SCRIPT, "start", "--folder=/nowhere", "--node=2"], text=True, capture_output=True)
    assert (done.returncode, "unknown option --node=2" in done.stderr) == (2, True)
