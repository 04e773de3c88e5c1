"""What became of a job, asked from its inside: still running, requeued by SLURM, out of time, or ended."""

from __future__ import annotations

import re
import subprocess
import time
from enum import StrEnum

from ternlab.slurm.allocation import Allocation

_TRIES = 3


class Fate(StrEnum):
    """What SLURM is doing with a job whose step has ended."""

    RUNNING = "running"
    REQUEUED = "requeued"
    TIMED_OUT = "timed out"
    ENDED = "ended"
    UNKNOWN = "unknown"


def fate_of(here: Allocation) -> Fate:
    """Ask SLURM about the job of this process; `UNKNOWN` when it does not answer."""
    for attempt in range(_TRIES):
        said = _ask(here)
        if said is not None:
            return fate(said, here.restarts)
        time.sleep(attempt + 1)
    return Fate.UNKNOWN


def fate(said: str, restarts: int) -> Fate:
    """Return what `scontrol --oneliner show job` says.

    Args:
        said: its output, of one job.
        restarts: how often the job had been requeued when this process was started.
    """
    # From there on: the job's name comes before and may be anything.
    # The first of a name counts; the command and comments come after.
    fields = dict(reversed(re.findall(r"(\w+)=(\S+)", said[max(0, said.find(" JobState=")) :])))
    state = fields.get("JobState", "")
    # The count goes up at once. The state does not tell: a cancelled job, one that is out of time and a requeued one
    # are all COMPLETING while their processes end.
    if int(fields.get("Restarts", "0")) > restarts or state in ("PENDING", "REQUEUED", "PREEMPTED"):
        return Fate.REQUEUED
    if state == "RUNNING":
        return Fate.RUNNING
    if state == "TIMEOUT" or fields.get("Reason") == "TimeLimit":
        return Fate.TIMED_OUT
    return Fate.ENDED


def requeue(here: Allocation) -> bool:
    """Put the job back into the queue; return whether it is there, whoever put it."""
    # By its number in the array: the bare id of an array's last task means all of its tasks.
    asked = subprocess.run(["scontrol", "requeue", here.job], text=True, capture_output=True)
    # SLURM ends the processes of a requeued job, and may have ended this scontrol; or it was faster.
    return asked.returncode == 0 or fate_of(here) == Fate.REQUEUED


def _ask(here: Allocation) -> str | None:
    try:
        asked = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", here.job], text=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None
