"""Runs that nobody trains: folders with a record and settings, as a training would leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.record import write_record
from ternlab.settings.load import settings_from_config, twin_of
from ternlab.settings.root import Settings

EPOCHS = """epoch,step,lr,train/loss,train/top1,train/top5,val/loss,val/top1,val/top5,quant/sparsity,quant/flip_ratio
0,20,0.05,1.5,50.0,90.0,1.4,55.0,91.0,0.4,0.05
1,40,0.0,0.5,80.0,99.0,0.6,75.0,98.0,0.3,0.01
"""
LAYERS = """epoch,step,layer,weights,threshold,scale,sparsity,flip_ratio
0,20,conv1,144,0.05,0.2,0.4,0.1
0,20,fc,640,0.06,0.3,0.5,0.1
1,40,conv1,144,0.051,0.21,0.3,0.01
1,40,fc,640,0.061,0.31,0.45,0.02
"""


def settings_of(**changes: Any) -> Settings:
    """Return checked settings; names have `__` for the dots (`optim__lr=0.1`)."""
    config: dict[str, Any] = {"trainer": {"max_epochs": 2}}
    for name, value in changes.items():
        *parents, leaf = name.split("__")
        branch = config
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return settings_from_config(config)


def make_run(
    runs: Path, metrics: dict[str, float] | None = None, status: str = "finished", /, **changes: Any
) -> RunDirectory:
    """Write a run's record, settings and tables below `runs` and return its folder.

    Args:
        runs: folder of the runs.
        metrics: of the record; the default depends on the seed.
        status: of the record.
        changes: settings by name, with `__` for the dots; `record__...` are entries of the record.
    """
    more = {name.removeprefix("record__"): changes.pop(name) for name in list(changes) if name.startswith("record__")}
    settings = settings_of(**changes)
    directory = run_directory(runs, run_id(settings))
    directory.create()
    directory.write_settings(settings)
    baseline = run_id(twin_of(settings)) if settings.quant.active else None
    found = {"test/top1": 90.0 + settings.seed, "val/top1": 91.0 + settings.seed} if metrics is None else metrics
    record = {
        "run_id": directory.run_id,
        "status": status,
        "command": f"python src/train.py seed={settings.seed}",
        "seed": settings.seed,
        "model": settings.model.name,
        "data": settings.data.name,
        "quant": settings.quant.label,
        "tags": [],
        "epochs": 2,
        "metrics": found if status == "finished" else {},
        "baseline_run_id": baseline,
        "started": "2026-01-02T03:04:05+0000",
        "finished": "2026-01-02T03:05:05+0000",
        "seconds": 60.5,
        "attempts": [{"started": "2026-01-02T03:04:05+0000", "status": status, "seconds": 60.5, "host": "here"}],
        "versions": {"python": "3.11", "torch": "2.10"},
        "git": {"commit": "c0ffee" * 6, "dirty": False, "diff_sha256": ""},
        "host": {"name": "here"},
        "error": None,
        **more,
    }
    directory.metrics_file.write_text(EPOCHS)
    if settings.quant.active:
        directory.layers_file.write_text(LAYERS)
    write_record(directory.record_file, record)
    return directory
