"""The wandb package, imported on demand: the import takes most of a second, and few commands need it."""

from __future__ import annotations

from types import ModuleType


def quiet_wandb() -> ModuleType:
    """Return wandb, with its output silenced.

    On failure it would recommend its own `wandb sync`, which sends W&B's local files instead of the run's files.
    """
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return wandb
