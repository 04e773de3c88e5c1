"""The state of a job, queried from inside: still running, requeued by SLURM, timed out, or ended."""

from __future__ import annotations

import re
import subprocess
import time
from enum import StrEnum

from ternlab.slurm.allocation import Allocation

_TRIES = 3


class Fate(StrEnum):
    """The state of a job whose step has ended."""

    RUNNING = "running"
    REQUEUED = "requeued"
    TIMED_OUT = "timed out"
    ENDED = "ended"
    UNKNOWN = "unknown"


def fate_of(here: Allocation) -> Fate:
    """Query SLURM about the job of this process; `UNKNOWN` if SLURM does not respond."""
    for attempt in range(_TRIES):
        said = _ask(here)
        if said is not None:
            return fate(said, here.restarts)
        time.sleep(attempt + 1)
    return Fate.UNKNOWN


def fate(said: str, restarts: int) -> Fate:
    """Parse the output of `scontrol --oneliner show job`.

    Args:
        said: the output for one job.
        restarts: how many times the job had been requeued when this process was started.
    """
    # Parse from JobState on, because the job's name comes before it and may be anything.
    # The first occurrence of a key counts, because the command and comments come later.
    fields = dict(reversed(re.findall(r"(\w+)=(\S+)", said[max(0, said.find(" JobState=")) :])))
    state = fields.get("JobState", "")
    # The count increases immediately. The state is ambiguous: cancelled, timed-out and requeued jobs are all
    # COMPLETING while their processes end.
    if int(fields.get("Restarts", "0")) > restarts or state in ("PENDING", "REQUEUED", "PREEMPTED"):
        return Fate.REQUEUED
    if state == "RUNNING":
        return Fate.RUNNING
    if state == "TIMEOUT" or fields.get("Reason") == "TimeLimit":
        return Fate.TIMED_OUT
    return Fate.ENDED


def requeue(here: Allocation) -> bool:
    """Requeue the job; return whether it is in the queue, whoever put it there."""
    # With the task number: the bare id of an array's last task would mean all of its tasks.
    asked = subprocess.run(["scontrol", "requeue", here.job], text=True, capture_output=True)
    # SLURM kills the processes of a requeued job, possibly including this scontrol; or SLURM requeued it first.
    return asked.returncode == 0 or fate_of(here) == Fate.REQUEUED


def _ask(here: Allocation) -> str | None:
    try:
        asked = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", here.job], text=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None
