"""The program of a job: trains the run of its batch with its index; `python -m ternlab.sweeps.on_slurm.task BATCH`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ternlab.core.errors import ExitCode, TernlabError
from ternlab.sweeps.folder import alive_file, exit_file, output_file
from ternlab.sweeps.on_slurm.batches import Batch, Place, read_batch
from ternlab.sweeps.on_slurm.script import log_file

_BEAT_SECONDS = 10.0


def carry(batch: Path) -> int:
    """Train a run of a batch in this job, and return the exit code.

    Args:
        batch: the batch file; the sweep's folder is the parent of its folder.
    """
    # Deferred: the launcher, which uses the paths above, does not need it.
    from ternlab.slurm.job import run_job

    folder = batch.parent.parent
    log = log_file(folder, os.environ["SLURM_ARRAY_JOB_ID"], os.environ["SLURM_ARRAY_TASK_ID"])
    found = read_batch(batch)
    if found is None:
        print("this batch was withdrawn by its launcher; nothing to do", file=sys.stderr)
        log.unlink(missing_ok=True)
        return ExitCode.HELD
    run = found.runs[int(os.environ["SLURM_ARRAY_TASK_ID"])]
    os.environ["OMP_NUM_THREADS"] = str(found.place.threads)
    exit_file(folder, run).parent.mkdir(parents=True, exist_ok=True)
    with _beating(alive_file(folder, run)), _printing_to(output_file(folder, run)):
        code = run_job(trial_command(found, run), record=exit_file(folder, run))
    if code == ExitCode.DONE:
        for path in (output_file(folder, run), exit_file(folder, run), log):
            path.unlink(missing_ok=True)
    return code


def trial_command(batch: Batch, run: str) -> list[str]:
    """Return the command that trains a run of a batch; it is the same on each of its nodes."""
    command = [sys.executable, "-u", "-m", "ternlab.sweeps.trial", batch.plan, run]
    return [*command, *place_arguments(batch.place)]


def place_arguments(place: Place) -> list[str]:
    """Return the resources of a run as arguments of `ternlab.sweeps.trial`."""
    given = {
        "threads": place.threads,
        "devices": place.devices,
        "nodes": place.nodes if place.nodes > 1 else None,
        "accelerator": place.accelerator,
    }
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


@contextlib.contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Keep updating the file's modification time while the block runs, as a heartbeat when squeue does not respond."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT_SECONDS):
            # If the disk is full, the run itself reports it.
            with contextlib.suppress(OSError):
                path.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Append the output of this process and its children to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    streams = (1, 2)
    before = [os.dup(stream) for stream in streams]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for stream in streams:
            os.dup2(descriptor, stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in zip(streams, before, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(descriptor)


def main() -> int:
    """Train the run of this job."""
    try:
        return carry(Path(sys.argv[1]))
    except TernlabError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
