"""A sweep on a SLURM that is a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.on_slurm.launcher import SlurmLauncher
from ternlab.sweeps.on_slurm.settings import SlurmCluster
from ternlab.sweeps.schedule import Progress, carry_out
from tests.sweeps.fake_slurm import FakeSlurm
from tests.sweeps.made import plan_of


class World:
    """A plan of four quantized runs on two baselines, and a cluster."""

    def __init__(self, folder: Path, **cluster: Any) -> None:
        self.runs = folder / "runs"
        self.folder = folder / "sweep"
        self.folder.mkdir()
        self.plan = plan_of(self.runs, "quant=tga,twn", "seed=0,1")
        self.slurm = FakeSlurm(self.runs)
        self.cluster = SlurmCluster(**cluster)
        self.stop_at = float("inf")

    def launcher(self) -> SlurmLauncher:
        return SlurmLauncher(self.folder, self.plan, self.cluster, self.slurm.largest, self.slurm, self.slurm.clock())

    def go(self, retries: int = 1) -> Progress:
        launcher: Launcher = self.launcher()
        progress = carry_out(
            self.plan,
            self.folder / "plan.json",
            self.runs,
            launcher,
            retries=retries,
            asked_to_stop=lambda: self.slurm.time >= self.stop_at,
            look=lambda progress: None,
            clock=self.slurm.clock(),
        )
        launcher.tidy(progress.done)
        launcher.close()
        return progress

    def name(self, rule: str, seed: int) -> str:
        (run,) = [run for run in self.plan.configs if f"-{rule}-s{seed}-" in run]
        return run

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


def with_baseline(world: World) -> tuple[SlurmLauncher, str, str]:
    """Submit a trial and its baseline; return both."""
    launcher = world.launcher()
    launcher.running()
    trial = world.plan.trials[0]
    baseline = str(trial.baseline)
    plan = world.folder / "plan.json"
    launcher.start([Task(trial.run_id, plan, after=(baseline,)), Task(baseline, plan)])
    return launcher, baseline, trial.run_id
