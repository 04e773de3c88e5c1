"""Reports jobs that need the user's action, once per array and reason, with the command to type."""

from __future__ import annotations

import logging

from ternlab.sweeps.on_slurm.queue import Entry

_log = logging.getLogger(__name__)
# SLURM writes some of them with spaces.
_HELD = ("launch_failed_requeued_held", "jobheld", "job_requeued_in_held_state")
_IMPOSSIBLE = (
    "accountnotallowed",
    "badconstraints",
    "invalidaccount",
    "invalidqos",
    "partitiondown",
    "partitioninactive",
    "partitionnodelimit",
    "partitiontimelimit",
    "qosnotallowed",
    "qostimelimit",
    "reqnodenotavail",
)


class StuckJobs:
    """Reports each reason once per array."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, run: str, entry: Entry) -> None:
        """Log what to do if a job does not start by itself."""
        advice = advice_for(entry)
        if advice and (entry.token, entry.reason) not in self._told:
            self._told.add((entry.token, entry.reason))
            _log.warning("%s is pending as job %s (%s): %s", run, entry.id, entry.reason, advice)


def advice_for(entry: Entry) -> str:
    """Return what the user can do about a job that does not start by itself; empty for all others."""
    reason = entry.reason.replace(" ", "_").lower()
    if entry.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or reason.startswith(_HELD):
        return f"it is on hold; to release it: scontrol release {entry.id}"
    if entry.state == "PENDING" and reason.startswith(_IMPOSSIBLE):
        return f"it may never start; see: scontrol show job {entry.id}"
    return ""
