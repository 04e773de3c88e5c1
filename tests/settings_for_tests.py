"""Settings of runs that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ternlab.settings.load import settings_from_config
from ternlab.settings.root import Settings


def tiny_config(runs: Path, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a tiny TGA run: 3 steps of 32 digits an epoch, 2 epochs, dropout.

    Args:
        runs: folder of the runs.
        changes: settings by name, with `__` for the dots (`optim__lr=0.1`).
    """
    config: dict[str, Any] = {
        "seed": 0,
        "plugins": ["tests.tiny"],
        "model": {"name": "tiny", "dropout": 0.3},
        "data": {"name": "digits", "limit_train": 96, "batch_size": 32, "crop_padding": 1},
        "quant": {"name": "tga", "init": "scratch", "update": "sequential"},
        "optim": {"lr": 0.05, "weight_decay": 1e-4, "schedule": {"name": "cosine", "warmup_epochs": 0.5}},
        "trainer": {"max_epochs": 2, "precision": "32", "accelerator": "cpu", "progress": "plain"},
        "paths": {"runs": str(runs)},
    }
    for name, value in changes.items():
        *parents, leaf = name.split("__")
        branch = config
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return config


def tiny_settings(runs: Path, **changes: Any) -> Settings:
    """Return the checked settings of `tiny_config`."""
    return settings_from_config(tiny_config(runs, **changes))
