"""How a task ended: from the run's record, else from its job's exit file, else from SLURM."""

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
# All other ends of a job are not the run's fault: its time was up or its node failed.
_CODES = {"COMPLETED": ExitCode.DONE, "FAILED": ExitCode.FAILED, "OUT_OF_MEMORY": ExitCode.FAILED}


def final_code(runs: Path, run: str) -> int | None:
    """Return the exit code of a run whose record is final, otherwise `None`."""
    return _FINAL.get(standing(runs, run).state)


def recorded_code(folder: Path, run: str) -> int | None:
    """Return the exit code, or the negative signal, that a run's job has written; `None` if it wrote nothing."""
    try:
        found = json.loads(exit_file(folder, run).read_text())
        code, killed = found["code"], found["signal"]
        return -int(signal.Signals[killed]) if killed else int(code) or None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def slurm_code(entry: Entry | None, job: str, run: CommandRunner) -> int:
    """Return the exit code for the final state that SLURM reports for a task.

    Args:
        entry: the task's queue entry; `None` if squeue no longer lists it.
        job: ID of the task, for `sacct`.
        run: runs a command.
    """
    state = entry.state if entry is not None else _accounted(job, run)
    return _CODES.get(state, ExitCode.INTERRUPTED)


def _accounted(job: str, run: CommandRunner) -> str:
    """Ask the accounting database, which many clusters have."""
    words = ("--noheader", "--allocations", "--parsable2", f"--jobs={job}", "--format=State")
    try:
        lines = output_of(run, "sacct", *words).splitlines()
    except NoAnswerError:
        return ""
    # A requeued job has one line per attempt; a line can read "CANCELLED by 1000".
    return (lines or [""])[-1].partition(" ")[0]
