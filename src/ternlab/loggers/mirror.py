"""The interface of a mirror: a copy of one run elsewhere, made from the run's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ternlab.runs.metrics import Row


class Mirror(Protocol):
    """One run at one place, open for writing.

    It is built by `open_mirror(settings, directory)`, which a logger registers. The place may already have some of the
    run, sent before it was stopped or by `ternlab sync`; a mirror adds what is missing, so that the run is there once,
    without gaps. Any method may raise: the caller warns once, and training goes on.

    Attributes:
        sent: number of rows of the run's history that need not be passed to `send`, as they have arrived.
    """

    sent: int

    def send(self, rows: Sequence[Row]) -> None:
        """Send the rows of the history from `sent` on, oldest first; see `ternlab.loggers.history.history_of`."""
        ...

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Send the results and how the run ended, and close.

        Args:
            metrics: results by name; empty if the run did not finish.
            failed: whether the run stopped before its end.

        Raises:
            Exception: something did not arrive.
        """
        ...
