"""Lists and cancels the jobs of a sweep, from any terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ternlab.sweeps.on_slurm.batches import Batch, all_batches, batches_folder
from ternlab.sweeps.on_slurm.commands import CommandRunner, run_command
from ternlab.sweeps.on_slurm.queue import Entry, listing

# SLURM's commands take lists of jobs, but command lines have a maximum length.
_IDS_AT_ONCE = 200


def in_queue(folder: Path, sweep_id: str, run: CommandRunner = run_command) -> dict[str, str]:
    """Return the pending and running runs of a sweep in SLURM's queue, with their states.

    Args:
        folder: the sweep's folder.
        sweep_id: the sweep's ID.
        run: runs a command.

    Raises:
        InfrastructureError: SLURM does not respond.
    """
    return {batch.runs[entry.index]: entry.shown for batch, entry in _of_sweep(folder, sweep_id, run)}


def cancel(folder: Path, sweep_id: str, run: CommandRunner = run_command) -> int:
    """Cancel all jobs of a sweep and return how many there were; running jobs save and are not requeued.

    Args:
        folder: the sweep's folder.
        sweep_id: the sweep's ID.
        run: runs a command.

    Raises:
        InfrastructureError: SLURM does not respond.
    """
    entries = [entry for _, entry in _of_sweep(folder, sweep_id, run)]
    # Pending jobs first, so that they do not start on the freed resources.
    for waiting in (True, False):
        cancel_jobs(run, [entry.id for entry in entries if (entry.state == "PENDING") == waiting])
    return len(entries)


def cancel_jobs(run: CommandRunner, ids: Sequence[str]) -> None:
    """Cancel jobs: running ones get TERM, then KILL after the cluster's `KillWait`.

    Args:
        run: runs a command.
        ids: `ARRAY_INDEX`; jobs that have already ended are ignored.
    """
    for start in range(0, len(ids), _IDS_AT_ONCE):
        part = ids[start : start + _IDS_AT_ONCE]
        # Otherwise the job of a run that has saved would be requeued. This fails for jobs that have just ended.
        run(["scontrol", "update", f"JobId={','.join(part)}", "Requeue=0"], ())
        run(["scancel", "--quiet", *part], ())


def _of_sweep(folder: Path, sweep_id: str, run: CommandRunner) -> Iterator[tuple[Batch, Entry]]:
    if not batches_folder(folder).is_dir():
        return
    found = listing(run, sweep_id)
    for batch in all_batches(folder):
        for (token, index), entry in found.items():
            if token == batch.token and not entry.ended and index < len(batch.runs):
                yield batch, entry
