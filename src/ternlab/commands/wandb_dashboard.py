"""`ternlab wandb dashboard`: create a workspace and a report for a project."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from ternlab.commands.sweeps import found_plan
from ternlab.core.errors import ExitCode, TernlabError
from ternlab.core.files import write_text
from ternlab.loggers.options import WandbSettings
from ternlab.loggers.wandb.account import wandb_mode
from ternlab.loggers.wandb.client import quiet_wandb
from ternlab.loggers.wandb.dashboard import View, as_json, report_of, view_of, workspace_of
from ternlab.loggers.wandb.sweep_summary import logger_of

# Placeholder in a workspace that is written without a known owner.
_NOBODY = "ENTITY"


def dashboard(chosen: argparse.Namespace) -> ExitCode:
    """Write the workspace, and save workspace and report at W&B if there is an API key.

    Raises:
        SettingsError: there is no such sweep, or wandb-workspaces is not installed.
        TernlabError: W&B rejected them.
    """
    plan, logger = None, WandbSettings()
    if chosen.sweep is not None:
        plan, _ = found_plan(chosen.sweeps, chosen.sweep)
        logger = logger_of(plan) or logger
    online = wandb_mode(logger) == "online"
    view = view_of(_entity(chosen.entity, logger, online), chosen.project or logger.project, plan, logger.group)
    workspace = workspace_of(view)
    path = chosen.out or Path("logs") / "wandb" / f"{view.name.replace(' ', '-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, as_json(workspace))
    print(path)
    if online:
        _save(view)
    else:
        typed = shlex.join(["ternlab", *sys.argv[1:]]) + (" --entity ENTITY" if view.entity == _NOBODY else "")
        print(
            "not logged in to W&B, so nothing was sent. To send the workspace and the report, run wandb login, then",
            f"  {typed}",
            sep="\n",
        )
    return ExitCode.DONE


def _entity(typed: str | None, logger: WandbSettings, online: bool) -> str:
    known = typed or logger.entity or os.environ.get("WANDB_ENTITY")
    if known or not online:
        return known or _NOBODY
    try:
        return str(quiet_wandb().Api().default_entity)
    except Exception as error:
        raise TernlabError(f"W&B did not return your default entity: {' '.join(str(error).split())}") from error


def _save(view: View) -> None:
    quiet_wandb()
    try:
        print(f"workspace: {workspace_of(view).save().url}", flush=True)
        print(f"report: {report_of(view).save().url}")
    except Exception as error:
        raise TernlabError(f"W&B rejected it: {' '.join(str(error).split())}") from error
