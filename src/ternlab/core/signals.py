"""Signals that ask a run to stop: they set a flag, and the current step finishes first."""

from __future__ import annotations

import ctypes
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ternlab.core.errors import RunInterrupted

_PR_SET_PDEATHSIG = 1
# On clusters, USR1 and USR2 announce preemption or the time limit; TERM and INT are handled the same way.
ASKING_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """Catch the signals that ask to stop while the block runs.

    A second SIGINT ends the run immediately, for a user who does not want to wait.

    Attributes:
        signal: name of the first signal received; `None` until then.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._asked) for number in ASKING_TO_STOP}
        return self

    def listen_again(self) -> None:
        """Reinstall the handlers after Lightning, whose SIGTERM handler would end a run without saving it."""
        for number in self._before:
            signal.signal(number, self._asked)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def leave_if_asked(self) -> None:
        """Stop before training has started.

        Raises:
            RunInterrupted: a signal was received.
        """
        if self.signal is not None:
            raise RunInterrupted(f"Stopped by {self.signal}.\n  instead: re-run the same command to resume")

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise RunInterrupted(
                "Stopped immediately.\n  instead: re-run the same command to resume from the last checkpoint"
            )
        self.signal = self.signal or signal.Signals(number).name


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies, so that no process keeps training without the run's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
