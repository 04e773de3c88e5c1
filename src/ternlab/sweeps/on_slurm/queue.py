"""Polls SLURM's queue with `squeue`: infrequently, and patiently if SLURM does not respond."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from ternlab.core.errors import InfrastructureError
from ternlab.sweeps.on_slurm.commands import CommandRunner, NoAnswerError, output_of
from ternlab.sweeps.progress import Clock

_log = logging.getLogger(__name__)
# Interval between two polls; a slow response means that SLURM is busy, so it is polled less often.
_SECONDS = 2.0
_TIMES_ITS_ANSWER = 10
# Interval after a poll without a response.
_SECONDS_AFTER_SILENCE = 10.0
# After this long without a response or a heartbeat of any run, the state counts as unknown.
PATIENCE_SECONDS = 600.0
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
# These states and reasons exist in SLURM 22.05 and later; the name is last, since other jobs may have any name.
_FORMAT = "%F|%K|%T|%r|%j"
_NEVER = "DependencyNeverSatisfied"


@dataclass(frozen=True)
class Entry:
    """An array task in the queue.

    Attributes:
        job: ID of the array.
        index: index of the task in the array.
        token: token of its batch; the job name ends with it.
        state: `PENDING`, `RUNNING`, ...
        reason: why it is pending, or why it ended.
    """

    job: str
    index: int
    token: str
    state: str
    reason: str

    @property
    def id(self) -> str:
        """The ID that SLURM's commands use."""
        return f"{self.job}_{self.index}"

    @property
    def ended(self) -> bool:
        """Whether it has ended; ended tasks are still listed for some minutes (MinJobAge)."""
        return self.state in ENDED

    @property
    def never(self) -> bool:
        """Whether it can never start, because a dependency has failed."""
        return self.reason == _NEVER

    @property
    def shown(self) -> str:
        """State for display, with the reason if pending."""
        return f"{self.state} ({self.reason})" if self.state == "PENDING" and self.reason != "None" else self.state


# Keyed by token and index: SLURM can reuse an ID after a crash.
Listing = dict[tuple[str, int], Entry]


def listing(run: CommandRunner, sweep_id: str) -> Listing:
    """Return the tasks of a sweep that are pending, running, or ended recently.

    Raises:
        NoAnswerError: squeue fails.
    """
    text = output_of(
        run, "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={_FORMAT}"
    )
    found: Listing = {}
    for line in text.splitlines():
        job, index, state, reason, name = (line.strip().split("|", 4) + [""] * 5)[:5]
        prefix, _, token = name.rpartition(".")
        if prefix == sweep_id and index.isdigit():
            entry = Entry(job, int(index), token, state, reason)
            before = found.get((token, entry.index))
            # An active entry takes precedence over an ended one.
            if before is None or before.ended:
                found[token, entry.index] = entry
    return found


class Queue:
    """The queue of one sweep, over time.

    Args:
        sweep_id: the job names start with it.
        run: runs a command.
        clock: the clock.
        sign_of_life: returns a number that changes while any run of the sweep is alive.
    """

    def __init__(self, sweep_id: str, run: CommandRunner, clock: Clock, sign_of_life: Callable[[], float]) -> None:
        self._sweep_id = sweep_id
        self._run = run
        self._clock = clock
        self._sign_of_life = sign_of_life
        self._next = clock.now()
        self._heard = clock.now()
        self._last_sign = 0.0
        self._silent = False

    def look(self) -> Listing | None:
        """Return the tasks of the sweep; `None` if it is too early to poll again, or if SLURM does not respond.

        Raises:
            InfrastructureError: there was no response and no heartbeat for ten minutes.
        """
        began = self._clock.now()
        if began < self._next:
            return None
        try:
            found = listing(self._run, self._sweep_id)
        except NoAnswerError as error:
            self._next = self._clock.now() + _SECONDS_AFTER_SILENCE
            self._bear(error)
            return None
        now = self._clock.now()
        self._next = now + max(_SECONDS, _TIMES_ITS_ANSWER * (now - began))
        self._heard = now
        self._silent = False
        return found

    def look_now(self) -> Listing:
        """Wait for a response and return the tasks of the sweep.

        Raises:
            InfrastructureError: there was no response for ten minutes.
        """
        self._next = self._heard = self._clock.now()
        while (found := self.look()) is None:
            self._clock.sleep(max(0.0, self._next - self._clock.now()))
        return found

    def _bear(self, error: NoAnswerError) -> None:
        """Keep waiting, or give up."""
        if not self._silent:
            _log.warning("SLURM does not respond; retrying: %s", error)
        self._silent = True
        sign = self._sign_of_life()
        if sign != self._last_sign:
            self._last_sign, self._heard = sign, self._clock.now()
        if self._clock.now() - self._heard >= PATIENCE_SECONDS:
            raise InfrastructureError(
                f"SLURM has not responded for {PATIENCE_SECONDS / 60:.0f} minutes ({error}).\n"
                "  Submitted jobs stay in its queue; re-run the command to resume."
            )
