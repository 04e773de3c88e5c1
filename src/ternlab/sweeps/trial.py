"""One run of a plan, in this process: `python -m ternlab.sweeps.trial PLAN RUN_ID [THREADS]`."""

from __future__ import annotations

import logging
import shlex
import sys
import traceback
from pathlib import Path

from ternlab.errors import ExitCode, TernlabError
from ternlab.logs import log_to_terminal
from ternlab.runs.directory import run_directory
from ternlab.settings.root import Settings
from ternlab.sweeps.plan import Plan, read_plan

_log = logging.getLogger(__name__)


def run_trial(plan_file: Path, run: str, threads: int | None = None) -> int:
    """Train a run of a plan to its end, or from where it was stopped, and return the exit code.

    Args:
        plan_file: `plan.json` of a sweep.
        run: id of one of its runs.
        threads: of torch, so that runs beside one another do not crowd the machine.
    """
    from ternlab.commands.train import train_run

    try:
        plan = read_plan(plan_file)
        settings = _with_threads(plan.settings(run), threads)
        train_run(settings, _command(plan, run, settings))
    except TernlabError as error:
        _log.error("%s", error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except Exception:  # noqa: BLE001 - the last frame of the process
        traceback.print_exc()
        return int(ExitCode.FAILED)
    return int(ExitCode.DONE)


def _command(plan: Plan, run: str, settings: Settings) -> str:
    """Return what a person types for this run alone; for a baseline what any run says of its baseline."""
    for trial in plan.trials:
        if trial.run_id == run:
            return trial.command
    folder = run_directory(settings.paths.runs, run).path
    return shlex.join(["python", "src/train.py", "--config-path", str(folder), "--config-name", "config"])


def _with_threads(settings: Settings, threads: int | None) -> Settings:
    if threads is None or settings.trainer.threads is not None:
        return settings
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"threads": threads})})


if __name__ == "__main__":
    log_to_terminal()
    sys.exit(run_trial(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None))
