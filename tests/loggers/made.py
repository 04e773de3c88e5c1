"""Folders of runs that nobody trained, with all the files that a mirror reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ternlab.loggers.live_sync import LiveSync
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.metrics import MetricsTable, Row
from ternlab.runs.record import write_record
from ternlab.settings.root import Settings
from ternlab.sweeps.plan import Plan, write_plan
from tests.settings_for_tests import tiny_settings
from tests.sweeps.made import plan_of

RESULTS = {"test/top1": 69.3, "degradation/top1": 0.30000000000000004}
LAYERS = ("conv1", "layer1.0.conv2", "fc")
STEPS = 3


def made_run(
    runs: Path, epochs: int = 3, *, started: str = "2026-01-02T03:04:05+0000", status: str = "finished", **changes: Any
) -> RunDirectory:
    """Write the folder of a run of so many epochs; `changes` are settings, as in `tiny_settings`."""
    settings = tiny_settings(runs, **{"logger__name": "wandb", **changes})
    directory = run_directory(runs, run_id(settings))
    directory.create()
    directory.write_settings(settings)
    add_epochs(directory, epochs)
    finish(directory, settings, started=started, status=status)
    return directory


def followed(
    directory: RunDirectory, epochs: int, *, failed: bool = False, results: dict[str, float] = RESULTS
) -> None:
    """Train so many epochs, with the thread beside."""
    live_sync = LiveSync(directory.settings(), directory)
    for _ in range(epochs):
        add_epochs(directory, 1)
        live_sync.notify()
    live_sync.close({} if failed else results, failed=failed)


@contextmanager
def in_training(directory: RunDirectory) -> Iterator[None]:
    """Let another process hold the run's lock while the block runs."""
    code = (
        "import sys; from pathlib import Path; from ternlab.core.lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(directory.path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()


def finish(directory: RunDirectory, settings: Settings, *, started: str, status: str, **metrics: float) -> None:
    """Write the record."""
    found = {"val/top1": 70.1, "test/top1": 69.3, "degradation/top1": 0.30000000000000004, **metrics}
    record = {
        "run_id": directory.run_id,
        "status": status,
        "command": "python src/train.py",
        "seed": settings.seed,
        "model": settings.model.name,
        "data": settings.data.name,
        "quant": settings.quant.label,
        "metrics": found if status == "finished" else {},
        "baseline_run_id": "digits-tiny-none-s0-0123456789",
        "started": started,
        "git": {"commit": "0123456789"},
    }
    write_record(directory.record_file, record)


def add_epochs(directory: RunDirectory, epochs: int, scale: float = 1.0) -> None:
    """Add so many epochs to the tables, as training would."""
    table, layers = MetricsTable(directory.metrics_file), MetricsTable(directory.layers_file)
    first = len(table.rows)
    for epoch in range(first, first + epochs):
        position = {"epoch": epoch, "step": STEPS * (epoch + 1)}
        layers.add(*(_layer_row(position, name, number) for number, name in enumerate(LAYERS)))
        table.add({**position, "lr": 0.1, "train/loss": scale / (epoch + 1), "val/top1": scale * (60 + epoch / 7)})


def _layer_row(position: Row, name: str, number: int) -> Row:
    value = position["epoch"] / 10 + number / 100
    row = {
        **position,
        "layer": name,
        "weights": 72,
        "threshold": value,
        "scale": 2 * value,
        "sparsity": 1 / (2 + value),
    }
    return row if name == "fc" else {**row, "threshold_gradient": value / 1e6}


def made_sweep(folder: Path, *more: str) -> tuple[Plan, Path, Path]:
    """Write a finished sweep of 2 thresholds x 3 learning rates x 2 seeds, and one that failed; plan, runs, folder."""
    runs, sweep = folder / "logs" / "runs", folder / "logs" / "sweeps" / "s"
    axes = ("quant.threshold.init=0.05,0.1", "optim.lr=0.1,0.01,0.02", "seed=0,1")
    plan = plan_of(runs, "quant=tga", "logger.name=wandb", *axes, *more)
    sweep.mkdir(parents=True)
    write_plan(plan, sweep)
    for number, trial in enumerate(plan.trials):
        settings, directory = plan.settings(trial.run_id), run_directory(runs, trial.run_id)
        directory.create()
        directory.write_settings(settings)
        lost = trial.point["quant.threshold.init"] * 10 + trial.point["optim.lr"] - trial.point["seed"] / 4
        status = "failed" if number == 0 else "finished"
        finish(directory, settings, started="now", status=status, **{"degradation/top1": lost, "val/top1": 80 - lost})
    return plan, runs, sweep
