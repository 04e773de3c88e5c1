"""The wandb package, imported when it is needed: that takes most of a second, and few commands need it."""

from __future__ import annotations

from types import ModuleType


def quiet_wandb() -> ModuleType:
    """Return wandb, which prints nothing from then on.

    What it would print on a failure is advice to use its own `wandb sync`, which sends what W&B has kept and not what
    the run's files hold.
    """
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return wandb
