"""`ternlab wandb ...`: sending runs to W&B, and its dashboard as code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `ternlab wandb` to the commands; `run` carries it out."""
    wandb = commands.add_parser("wandb", help="send runs to W&B; its dashboard", description="Weights & Biases.")
    actions = wandb.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_sync(actions)
    _add_dashboard(actions)


def _add_sync(actions: Any) -> None:
    text = "send runs that W&B does not have, or not whole"
    sync = actions.add_parser(
        "sync",
        help=text,
        description=f"{text.capitalize()}: from the runs' own files, under the runs' ids. What is there is not sent "
        "again. Exit code 1 when a run could not be sent.",
    )
    sync.add_argument("run", nargs="*", help="id of a run, a unique beginning or ending of it, or its folder")
    sync.add_argument("--sweep", help="the runs and the summary of this sweep: an id, a unique part of it, or a folder")
    sync.add_argument("--sweeps", type=Path, default=Path("logs/sweeps"), help="default: logs/sweeps")
    sync.add_argument("--all", action="store_true", help="all runs that were trained with logger=wandb")
    sync.add_argument("--runs", type=Path, default=Path("logs/runs"), help="folder of the runs (default: logs/runs)")
    sync.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")


def _add_dashboard(actions: Any) -> None:
    text = "the workspace and the report of a project, as code"
    board = actions.add_parser(
        "dashboard",
        help=text,
        description=f"{text.capitalize()}: written to a file, and saved at W&B when you are logged in. "
        "Every call makes a new workspace and a new report.",
    )
    board.add_argument("--sweep", help="show the runs of this sweep alone: an id, or a unique beginning or ending")
    board.add_argument("--sweeps", type=Path, default=Path("logs/sweeps"), help="default: logs/sweeps")
    board.add_argument("--entity", help="of W&B (default: WANDB_ENTITY, or that of the key)")
    board.add_argument("--project", help="of W&B (default: that of the sweep, or ternlab)")
    board.add_argument("--out", type=Path, help="file of the workspace (default: logs/wandb/NAME.json)")


def run(chosen: argparse.Namespace) -> int:
    """Carry out `ternlab wandb ...`."""
    # Deferred, so that --help answers at once.
    from ternlab.commands.wandb_dashboard import dashboard
    from ternlab.commands.wandb_sync import sync

    return int({"sync": sync, "dashboard": dashboard}[chosen.action](chosen))
