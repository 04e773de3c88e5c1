"""How a task has ended: the run's record first, then what its job wrote, then what SLURM says."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from ternlab.core.errors import ExitCode
from ternlab.sweeps.folder import exit_file
from ternlab.sweeps.on_slurm.commands import CommandRunner, NoAnswerError, output_of
from ternlab.sweeps.on_slurm.queue import Entry
from ternlab.sweeps.states import State, standing

_FINAL: dict[State, int] = {State.FINISHED: ExitCode.DONE, State.DIVERGED: ExitCode.DIVERGED}
# Every other end of a job is none of the run's own doing: its time or its node was over.
_CODES = {"COMPLETED": ExitCode.DONE, "FAILED": ExitCode.FAILED, "OUT_OF_MEMORY": ExitCode.FAILED}


def final_code(runs: Path, run: str) -> int | None:
    """Return the exit code of a run whose record is final, `None` for others."""
    return _FINAL.get(standing(runs, run).state)


def recorded_code(folder: Path, run: str) -> int | None:
    """Return the exit code, or minus the signal, that the job of a run has written; `None` when it wrote nothing."""
    try:
        found = json.loads(exit_file(folder, run).read_text())
        code, killed = found["code"], found["signal"]
        return -int(signal.Signals[killed]) if killed else int(code) or None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def slurm_code(entry: Entry | None, job: str, run: CommandRunner) -> int:
    """Return the exit code for how SLURM says that a task has ended.

    Args:
        entry: of the task; `None` when squeue has forgotten it.
        job: id of the task, for `sacct`.
        run: runs a command.
    """
    state = entry.state if entry is not None else _accounted(job, run)
    return _CODES.get(state, ExitCode.INTERRUPTED)


def _accounted(job: str, run: CommandRunner) -> str:
    """Ask the accounting, which many clusters have and which remembers."""
    words = ("--noheader", "--allocations", "--parsable2", f"--jobs={job}", "--format=State")
    try:
        lines = output_of(run, "sacct", *words).splitlines()
    except NoAnswerError:
        return ""
    # A job that was requeued has a line for each time; "CANCELLED by 1000".
    return (lines or [""])[-1].partition(" ")[0]
