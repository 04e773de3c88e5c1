"""Signals that ask a run to stop: they set a flag, and the current step finishes first.

Before training, there is no step to finish and nothing to save: `stop_at_once` lets them end what is going on.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator
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
        _active.append(self)
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
        _active.remove(self)
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
        if _at_once:
            self.leave_if_asked()


_active: list[StopRequest] = []
# The blocks of `stop_at_once` that are being executed.
_at_once: list[None] = []


def leave_if_asked() -> None:
    """Stop if a signal has asked this process to; threads call this, because signals only reach the main thread.

    Raises:
        RunInterrupted: a signal was received by an active `StopRequest`.
    """
    for request in _active:
        request.leave_if_asked()


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
    """While the block runs, a signal to an active `StopRequest` ends it with an exception, even in a blocked read.

    This is for work that may take long and leaves nothing to save: listing, reading and decoding files on slow storage.
    Also a decorator.

    Raises:
        RunInterrupted: a signal was received, before or in the block.
    """
    leave_if_asked()
    _at_once.append(None)
    try:
        yield
    except Exception:
        # A library that catches every exception may have turned the interruption into an error of its own, ...
        leave_if_asked()
        raise
    finally:
        _at_once.pop()
    # ... or dropped it.
    leave_if_asked()


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies, so that no process keeps training without the run's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
