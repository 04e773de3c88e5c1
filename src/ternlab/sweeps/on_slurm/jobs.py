"""The SLURM jobs of a sweep, for the commands that inspect and cancel a sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ternlab.core.errors import InfrastructureError
from ternlab.sweeps.on_slurm.commands import NoAnswerError
from ternlab.sweeps.on_slurm.control import cancel, in_queue
from ternlab.sweeps.on_slurm.queue import PATIENCE_SECONDS

T = TypeVar("T")

_SECONDS_BETWEEN = 2.0


class SlurmJobs:
    """The jobs of sweeps that were submitted to SLURM."""

    queue = "SLURM"

    def states(self, folder: Path, sweep_id: str, *, patient: bool = False) -> Mapping[str, str]:
        """Return the pending and running runs of a sweep, with their states; see `Jobs.states`."""

        def ask() -> Mapping[str, str]:
            return in_queue(folder, sweep_id)

        return _patiently(ask) if patient else ask()

    def cancel(self, folder: Path, sweep_id: str) -> int:
        """Cancel the jobs of a sweep; see `Jobs.cancel`."""
        return _patiently(lambda: cancel(folder, sweep_id))


def _patiently(ask: Callable[[], T]) -> T:
    """Retry while SLURM does not respond.

    Raises:
        InfrastructureError: it has not responded for ten minutes.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except NoAnswerError as error:
            if time.monotonic() > until:
                raise InfrastructureError(f"SLURM does not respond: {error}") from error
            time.sleep(_SECONDS_BETWEEN)
