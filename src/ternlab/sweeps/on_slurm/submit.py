"""Submits a batch to SLURM exactly once, even if responses are lost or processes are killed."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ternlab.core.errors import InfrastructureError
from ternlab.core.files import write_text
from ternlab.sweeps.on_slurm.batches import Batch, batches_folder, remove_batch, write_batch
from ternlab.sweeps.on_slurm.commands import DEFAULTS, Answer, CommandRunner
from ternlab.sweeps.on_slurm.queue import Queue
from ternlab.sweeps.on_slurm.script import job_id, script
from ternlab.sweeps.on_slurm.settings import SlurmCluster
from ternlab.sweeps.progress import Clock

_log = logging.getLogger(__name__)
_TRIES = 5
# After a lost response: how often the queue is checked for the job, and the seconds in between.
_LOOKS = 3
_SECONDS = 4.0
# Messages of sbatch when there are too many jobs at the moment.
_FULL = ("temporarily unable", "too many", "resource temporarily unavailable")
_LIMIT = re.compile(r"\b(?:Assoc|QOS)[A-Z]\w+")


class QueueFullError(InfrastructureError):
    """SLURM accepts no more jobs at the moment."""


class Submission:
    """Submits batches of one sweep to SLURM.

    Args:
        folder: the sweep's folder.
        cluster: resources of each run.
        run: runs a command.
        queue: the sweep's queue.
        clock: the clock.
    """

    def __init__(self, folder: Path, cluster: SlurmCluster, run: CommandRunner, queue: Queue, clock: Clock) -> None:
        self._folder = folder
        self._cluster = cluster
        self._run = run
        self._queue = queue
        self._clock = clock

    def submit(self, batch: Batch, after: Sequence[str]) -> Batch:
        """Submit a batch and return it with its job ID.

        Args:
            batch: the batch to submit; its file is written first.
            after: IDs of the array tasks that must succeed first.

        Raises:
            QueueFullError: there are already too many jobs; nothing was submitted.
            InfrastructureError: SLURM rejects it, or does not respond.
        """
        for _ in range(_TRIES):
            write_batch(self._folder, batch)
            answer = self._call(batch, after)
            job = job_id(answer.out) if answer.code == 0 else None
            if job is None and not (answer.silent or answer.code == 0):
                remove_batch(self._folder, batch.token)
                raise _refusal(answer)
            job = job or self._found_late(batch)
            if job is not None:
                batch = replace(batch, job=job)
                write_batch(self._folder, batch)
                return batch
            _log.warning("sbatch: %s; retrying", answer.words)
            # If SLURM received it after all, its tasks find no batch and do nothing.
            remove_batch(self._folder, batch.token)
            batch = batch.renewed()
        raise InfrastructureError(f"sbatch: {answer.words} ({_TRIES} tries).\n  instead: re-run the command later")

    def _call(self, batch: Batch, after: Sequence[str]) -> Answer:
        text = script(self._cluster, self._folder, batch.name, len(batch.runs), after)
        path = batches_folder(self._folder) / f"{batch.token}.sbatch"
        write_text(path, text)
        try:
            return self._run(["sbatch", str(path)], kept_variables(self._cluster))
        finally:
            path.unlink(missing_ok=True)

    def _found_late(self, batch: Batch) -> str | None:
        """Return the job ID if SLURM has the job although sbatch did not report it."""
        for _ in range(_LOOKS):
            for (token, _), entry in self._queue.look_now().items():
                if token == batch.token:
                    return entry.job
            self._clock.sleep(_SECONDS)
        return None


def kept_variables(cluster: SlurmCluster) -> list[str]:
    """Return the variables with user defaults that sbatch may use, since `cluster` does not override them."""
    return [name for name in DEFAULTS if getattr(cluster, name.removeprefix("SBATCH_").lower(), None) is None]


def takes_no_more(words: str) -> bool:
    """Return whether sbatch rejects a job only because there are too many at the moment."""
    if "accounting/QOS policy" in words:
        # This message names every kind of limit; the actual one precedes it (AssocMaxSubmitJobLimit).
        limits = _LIMIT.findall(words)
        return not limits or any("Submit" in limit for limit in limits)
    return any(sign in words.lower() for sign in _FULL)


def _refusal(answer: Answer) -> InfrastructureError:
    if takes_no_more(answer.words):
        return QueueFullError(answer.words)
    return InfrastructureError(f"SLURM rejects the jobs: {answer.words}\n  instead: other values of cluster.*")
