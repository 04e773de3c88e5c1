"""`ternlab wandb ...`: sync runs to W&B, and create its dashboard from code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ternlab.commands.folders import add_folder


def add_parser(commands: Any) -> None:
    """Add `ternlab wandb` to the commands; `run` executes it."""
    wandb = commands.add_parser("wandb", help="sync runs to W&B; create a dashboard", description="Weights & Biases.")
    actions = wandb.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_sync(actions)
    _add_dashboard(actions)


def _add_sync(actions: Any) -> None:
    text = "send runs that are missing or incomplete at W&B"
    sync = actions.add_parser(
        "sync",
        help=text,
        description="Send runs that are missing or incomplete at W&B. The data comes from the runs' own files; the W&B "
        "run has the ID of the run. Data that W&B already has is not sent again. "
        "Exit code 1 if a run could not be sent.",
    )
    sync.add_argument("run", nargs="*", help="run ID, a unique prefix or suffix of it, or the run directory")
    sync.add_argument(
        "--sweep", help="the runs and the summary of this sweep: its ID, a unique prefix or suffix, or its folder"
    )
    add_folder(sync, "sweeps")
    sync.add_argument("--all", action="store_true", help="all runs that were trained with logger=wandb")
    add_folder(sync, "runs")
    sync.add_argument("--dry-run", action="store_true", help="list what would be sent without sending it")


def _add_dashboard(actions: Any) -> None:
    text = "create a workspace and a report for a project"
    board = actions.add_parser(
        "dashboard",
        help=text,
        description=f"{text.capitalize()}. The workspace is written to a file; both are saved at W&B if you are logged "
        "in. Every call creates a new workspace and a new report.",
    )
    board.add_argument("--sweep", help="show only the runs of this sweep: its ID, or a unique prefix or suffix")
    add_folder(board, "sweeps")
    board.add_argument("--entity", help="W&B entity (default: WANDB_ENTITY, or the entity of the API key)")
    board.add_argument("--project", help="W&B project (default: the sweep's project, or ternlab)")
    board.add_argument("--out", type=Path, help="workspace file (default: logs/wandb/NAME.json)")


def run(chosen: argparse.Namespace) -> int:
    """Run `ternlab wandb ...`."""
    # Deferred to keep --help fast.
    from ternlab.commands.wandb_dashboard import dashboard
    from ternlab.commands.wandb_sync import sync

    return int({"sync": sync, "dashboard": dashboard}[chosen.action](chosen))
