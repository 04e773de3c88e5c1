"""Jobs that wait for a person: told once, with what to type."""

from __future__ import annotations

import logging

from ternlab.sweeps.on_slurm.queue import Entry

_log = logging.getLogger(__name__)
# SLURM writes some of them with blanks.
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
    """Tells of each reason once for each array."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, run: str, entry: Entry) -> None:
        """Log what is to be done when a job does not begin by itself."""
        advice = advice_for(entry)
        if advice and (entry.token, entry.reason) not in self._told:
            self._told.add((entry.token, entry.reason))
            _log.warning("%s waits as job %s (%s): %s", run, entry.id, entry.reason, advice)


def advice_for(entry: Entry) -> str:
    """Return what a person can do for a job that does not begin by itself; empty for all others."""
    reason = entry.reason.replace(" ", "_").lower()
    if entry.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or reason.startswith(_HELD):
        return f"SLURM holds it until you type: scontrol release {entry.id}"
    if entry.state == "PENDING" and reason.startswith(_IMPOSSIBLE):
        return f"it may never begin; see: scontrol show job {entry.id}"
    return ""
