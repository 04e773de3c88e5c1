"""What waits and runs in SLURM's queue, asked with `squeue`: seldom, and with patience when it does not answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from ternlab.core.errors import InfrastructureError
from ternlab.sweeps.on_slurm.commands import CommandRunner, NoAnswerError, output_of
from ternlab.sweeps.progress import Clock

_log = logging.getLogger(__name__)
# Between two questions; a slow answer is a sign of a busy SLURM, which is then asked less often.
_SECONDS = 2.0
_TIMES_ITS_ANSWER = 10
# After a question without an answer.
_SECONDS_AFTER_SILENCE = 10.0
# Without an answer, and without a sign of life from any run, for so long: nobody can tell any more.
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
# The states and reasons are known in 22.05 and later; the name is last, since other jobs may have any.
_FORMAT = "%F|%K|%T|%r|%j"
_NEVER = "DependencyNeverSatisfied"


@dataclass(frozen=True)
class Entry:
    """A task of an array in the queue.

    Attributes:
        job: id of the array.
        index: of the task in it.
        token: of the batch that it belongs to; the job's name ends with it.
        state: `PENDING`, `RUNNING`, ...
        reason: why it waits, or why it ended.
    """

    job: str
    index: int
    token: str
    state: str
    reason: str

    @property
    def id(self) -> str:
        """As the commands of SLURM call it."""
        return f"{self.job}_{self.index}"

    @property
    def ended(self) -> bool:
        """Whether it neither waits nor runs; it is still listed for some minutes (MinJobAge)."""
        return self.state in ENDED

    @property
    def never(self) -> bool:
        """Whether it cannot begin any more, because what it waits for has failed."""
        return self.reason == _NEVER

    @property
    def shown(self) -> str:
        """State for a person, with the reason of what waits."""
        return f"{self.state} ({self.reason})" if self.state == "PENDING" and self.reason != "None" else self.state


# By token and index: an id can be given a second time, after a crash of SLURM.
Listing = dict[tuple[str, int], Entry]


def listing(run: CommandRunner, sweep_id: str) -> Listing:
    """Return the tasks of a sweep that wait, run, or have ended a short time ago.

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
            # One that lives counts more than one that has ended.
            if before is None or before.ended:
                found[token, entry.index] = entry
    return found


class Queue:
    """The queue of one sweep, over time.

    Args:
        sweep_id: the jobs' names begin with it.
        run: runs a command.
        clock: time.
        sign_of_life: returns a number that changes while any run of the sweep lives.
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
        """Return the tasks of the sweep; `None` when it is too early to ask again, or when there is no answer.

        Raises:
            InfrastructureError: there was no answer, and no sign of life, for ten minutes.
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
        """Return the tasks of the sweep, and wait for an answer.

        Raises:
            InfrastructureError: there was none for ten minutes.
        """
        self._next = self._heard = self._clock.now()
        while (found := self.look()) is None:
            self._clock.sleep(max(0.0, self._next - self._clock.now()))
        return found

    def _bear(self, error: NoAnswerError) -> None:
        """Wait on, or give up."""
        if not self._silent:
            _log.warning("SLURM does not answer and is asked again: %s", error)
        self._silent = True
        sign = self._sign_of_life()
        if sign != self._last_sign:
            self._last_sign, self._heard = sign, self._clock.now()
        if self._clock.now() - self._heard >= PATIENCE_SECONDS:
            raise InfrastructureError(
                f"SLURM has not answered for {PATIENCE_SECONDS / 60:.0f} minutes ({error}).\n"
                "  What was submitted stays in its queue; the same command goes on with it."
            )
