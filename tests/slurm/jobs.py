"""Runs as SLURM jobs: tiny ones, on a real SLURM."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands.run_command import PATHS, ROOT, TINY
from tests.slurm.cluster import Cluster, wait_until

# Without a baseline; every step is saved, so that a job that is killed goes on from the step before.
FULL = ("quant=none", *(word for word in TINY if not word.startswith("quant.")), "checkpoint.every_steps=1")
SBATCH = ROOT / "slurm" / "train.sbatch"
_RECORDED = """#!/bin/bash
exec python -m ternlab.slurm.job --record=exit.json python {root}/src/train.py "$@"
"""


@dataclass(frozen=True)
class Job:
    """A job and the folder that it was handed over in."""

    cluster: Cluster
    id: str
    folder: Path

    def run(self) -> Path:
        """Return the folder of its run; there must be one only."""
        (found,) = (self.folder / "logs" / "runs").glob("digits-*")
        return found

    def record(self) -> dict[str, Any]:
        """Return the record of its run."""
        record: dict[str, Any] = json.loads((self.run() / "record.json").read_text())
        return record

    def weights(self) -> bytes:
        """Return the bytes of the final weights."""
        return (self.run() / "model.safetensors").read_bytes()

    def output(self) -> str:
        """Return what it printed."""
        return "\n".join(path.read_text() for path in self.folder.glob("*.out"))

    def wait_for_step(self, step: int = 1) -> None:
        """Wait until it trains and has saved this step."""
        pattern = f"logs/runs/*/checkpoints/step-{step:09d}.json"
        wait_until(lambda: list(self.folder.glob(pattern)), f"{pattern}\n{self.output()}", 120)

    def wait(self, *states: str, seconds: float = 180) -> dict[str, str]:
        """Wait for the end; SLURM lets a requeued job wait for six seconds before it starts again."""
        wait_until(lambda: self.cluster.job(self.id)["JobState"] in states, f"{states}\n{self.output()}", seconds)
        return self.cluster.job(self.id)


def submit(cluster: Cluster, folder: Path, options: list[str], *settings: str, seconds: float = 0.3) -> Job:
    """Hand a run over with slurm/train.sbatch.

    Args:
        cluster: where.
        folder: `paths.runs` is below it.
        options: of sbatch.
        settings: of the run.
        seconds: that each step takes.
    """
    return _submit(cluster, folder, options, SBATCH, settings, seconds)


def submit_recorded(cluster: Cluster, folder: Path, *settings: str, seconds: float = 0.3) -> Job:
    """Hand a run over whose end is written to `exit.json`."""
    script = folder / "recorded.sh"
    script.write_text(_RECORDED.format(root=ROOT))
    return _submit(cluster, folder, ["--output=%j.out", "--requeue", "--signal=USR2@60"], script, settings, seconds)


def _submit(
    cluster: Cluster, folder: Path, options: list[str], script: Path, settings: tuple[str, ...], seconds: float
) -> Job:
    with _variables(seconds):
        common = ["--cpus-per-task=1", "--time=10", "--gpus-per-node=1"]
        return Job(cluster, cluster.submit(*common, *options, str(script), *settings, cwd=folder), folder)


@contextmanager
def _variables(seconds: float) -> Iterator[None]:
    """Set what the job takes over from the shell in which sbatch is typed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "PYTHONPATH": PATHS, "TERNLAB_HOME": str(ROOT), "TINY_SECONDS": str(seconds)}
    before = dict(os.environ)
    os.environ.update(ours)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
