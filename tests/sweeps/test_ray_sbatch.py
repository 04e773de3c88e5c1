"""`slurm/ray_cluster.sbatch` on a real SLURM of two nodes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.commands.run_command import PATHS, ROOT, TINY
from tests.slurm.cluster import Cluster, cluster, needs_slurm, records, wait_until

__all__ = ["cluster"]

pytestmark = [
    pytest.mark.cluster,
    needs_slurm,
]
SWEEP = [*TINY, "quant=none", "allow_other_code=true", "checkpoint.every_steps=1"]
_ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return what hands the script over with these settings, and returns the job's id."""
    for name, value in {"TERNLAB_HOME": str(ROOT), "PYTHONPATH": PATHS, "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)

    def submitted(*settings: str) -> str:
        script = str(ROOT / "slurm" / "ray_cluster.sbatch")
        return cluster.submit("--output=job-%j.out", "--cpus-per-task=1", script, *SWEEP, *settings, cwd=tmp_path)

    return submitted


def test_a_sweep_over_two_nodes_ends_and_leaves_nothing(cluster: Cluster, submit: object, tmp_path: Path) -> None:
    job = submit("seed=0,1", "trainer.max_epochs=60")  # type: ignore[operator]
    runs = tmp_path / "logs" / "runs"
    _wait_for_a_checkpoint(cluster, job, tmp_path)
    arguments = _arguments(cluster, job)
    found = cluster.wait_for(job, *_ENDED, seconds=180)
    output = (tmp_path / f"job-{job}.out").read_text()
    assert found["JobState"] == "COMPLETED", output
    assert [record["status"] for record in records(runs)] == ["finished", "finished"]
    assert "best setting by mean val/top1" in output
    # A token has 64 digits; it is in no argument and in no log.
    assert any("ray start --head" in words for words in arguments)
    assert sum("ray start --address" in words for words in arguments) > 0
    assert not [words for words in [*arguments, output] if re.search(r"\b[0-9a-f]{64}\b", words)]
    wait_until(lambda: not cluster.pids(job), "all processes of the job have ended", 90)
    assert not Path(f"/tmp/tern-ray-{job}").exists()


def test_usr1_before_the_time_limit_saves_all_trials(cluster: Cluster, submit: object, tmp_path: Path) -> None:
    job = submit("seed=0,1", "trainer.max_epochs=5000")  # type: ignore[operator]
    runs = tmp_path / "logs" / "runs"
    _wait_for_a_checkpoint(cluster, job, tmp_path)
    cluster.call("scancel", "--batch", "--signal=USR1", job)
    found = cluster.wait_for(job, *_ENDED, seconds=60)
    output = (tmp_path / f"job-{job}.out").read_text()
    assert (found["JobState"], found["ExitCode"]) == ("FAILED", "5:0"), output
    assert {record["status"] for record in records(runs)} == {"interrupted"}
    assert "To resume:" in output


def _wait_for_a_checkpoint(cluster: Cluster, job: str, folder: Path) -> None:
    found = (folder / "logs" / "runs").glob
    wait_until(lambda: [*found("*/checkpoints/*.json")] or cluster.job(job)["JobState"] in _ENDED, "a run saves", 150)
    assert [*found("*/checkpoints/*.json")], (folder / f"job-{job}.out").read_text()


def _arguments(cluster: Cluster, job: str) -> list[str]:
    """Return the command lines of all processes of the job."""
    found = []
    for pid in cluster.pids(job):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            assert os.getpid() != pid
    return found
