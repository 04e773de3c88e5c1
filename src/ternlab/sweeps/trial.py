"""Train one run of a plan in this process: `python -m ternlab.sweeps.trial PLAN RUN_ID [--threads=N] ...`."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.core.logs import log_to_terminal
from ternlab.core.wait_policy import set_wait_policy
from ternlab.runs import provenance
from ternlab.runs.directory import run_directory
from ternlab.settings.root import Settings
from ternlab.sweeps.plan import Plan, read_plan
from ternlab.training.train_run import train_run

_log = logging.getLogger(__name__)


def run_trial(
    plan_file: Path,
    run: str,
    threads: int | None = None,
    *,
    devices: int | None = None,
    nodes: int | None = None,
    accelerator: str | None = None,
    same_code: bool = False,
) -> int:
    """Train or resume a run of a plan, and return the exit code.

    Arguments that are `None` keep the plan's values; none of them changes the run's identity.

    Args:
        plan_file: `plan.json` of a sweep.
        run: ID of one of its runs.
        threads: torch threads, so that concurrent runs do not oversubscribe the machine; the plan takes precedence.
        devices: processes per node.
        nodes: number of nodes.
        accelerator: `cpu` or `gpu`.
        same_code: reject code other than the plan's, unless the plan allows it; for trials that import the code long
            after the plan was made.
    """
    try:
        plan = read_plan(plan_file)
        if same_code and not plan.any_code:
            check_code(plan.code, provenance.git_state())
        place = {"devices": devices, "nodes": nodes, "accelerator": accelerator}
        settings = _grouped(_placed(plan.settings(run), threads, place), plan.sweep_id)
        train_run(settings, _command(plan, run, settings))
    except TernlabError as error:
        _log.error("%s", error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except Exception:  # noqa: BLE001 - the outermost handler of the process
        traceback.print_exc()
        return int(ExitCode.FAILED)
    return int(ExitCode.DONE)


def check_code(planned: dict[str, Any] | None, now: dict[str, Any] | None) -> None:
    """Reject code other than the plan's.

    Raises:
        SettingsError: the code differs; outside of git this cannot be detected.
    """
    if planned is None or now is None or planned == now:
        return
    raise SettingsError(
        "code",
        value=_named(now),
        rule=f"the sweep was started by {_named(planned)}; its trials would differ in more than their settings",
        instead="allow_other_code=true, or check out that code",
    )


def _named(code: dict[str, Any]) -> str:
    changes = f" with changes {code['diff_sha256'][:6]}" if code["dirty"] else ""
    return f"commit {code['commit'][:10]}{changes}"


def _command(plan: Plan, run: str, settings: Settings) -> str:
    """Return the command that trains only this run; for a baseline, as any run records it for its baseline."""
    for trial in plan.trials:
        if trial.run_id == run:
            return trial.command
    return run_directory(settings.paths.runs, run).command()


def _placed(settings: Settings, threads: int | None, place: dict[str, Any]) -> Settings:
    changes = {name: value for name, value in place.items() if value is not None}
    if settings.trainer.threads is None and threads is not None:
        changes["threads"] = threads
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=changes)})


def _grouped(settings: Settings, sweep: str) -> Settings:
    """Return settings that put the mirror of the run, and its baseline's, in the group of the sweep."""
    logger = settings.logger
    if logger.name == "local" or getattr(logger, "group", sweep) is not None:
        return settings
    return settings.model_copy(update={"logger": logger.model_copy(update={"group": sweep})})


def _arguments(words: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m ternlab.sweeps.trial", description=__doc__, allow_abbrev=False)
    parser.add_argument("plan_file", type=Path, metavar="PLAN")
    parser.add_argument("run", metavar="RUN_ID")
    for name in ("threads", "devices", "nodes"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"))
    return vars(parser.parse_args(words))


if __name__ == "__main__":
    set_wait_policy()
    log_to_terminal()
    sys.exit(run_trial(**_arguments(sys.argv[1:]), same_code=True))
