"""One run on two nodes of a real SLURM."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from tests.commands.run_command import run
from tests.slurm.cluster import Cluster, needs_slurm
from tests.slurm.jobs import FULL, submit

pytestmark = [pytest.mark.cluster, needs_slurm]


def test_two_nodes_train_one_run_that_is_stopped_requeued_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, ["--nodes=2"], *FULL, "trainer.nodes=2", seconds=1)
    job.wait_for_step()
    # To the processes of all nodes, as SLURM does before the time limit.
    cluster.call("scancel", "--signal=USR2", job.id)
    assert job.wait("COMPLETED")["Restarts"] == "1", job.output()
    record = job.record()
    assert (record["facts"]["world_size"], record["facts"]["nodes"]) == (2, 2)
    assert [attempt["status"] for attempt in record["attempts"]] == ["interrupted", "finished"]
    assert record["attempts"][1]["step"] >= 1
    assert not list((tmp_path / "logs" / "runs" / ".nodes").iterdir())
    one_host = tmp_path / "one_host"
    one_host.mkdir()
    code, _, err = run(one_host, *FULL, "trainer.devices=2")
    assert code == ExitCode.DONE, err
    (expected,) = one_host.glob("logs/runs/*/model.safetensors")
    assert job.weights() == expected.read_bytes()
    cluster.empty()
