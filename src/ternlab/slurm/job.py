"""The job script: `python -m ternlab.slurm.job [--record=FILE] COMMAND...`; only this module requeues jobs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ternlab.core.clock import now
from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.core.files import write_json
from ternlab.core.logs import log_to_terminal
from ternlab.slurm.allocation import Allocation, allocation
from ternlab.slurm.state import Fate, fate_of, requeue
from ternlab.slurm.step import step_command, step_environment

_log = logging.getLogger(__name__)
# These signals announce the end of a job; they kill a process that is still importing and has nothing to save.
_ANNOUNCING = {128 + number for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)}
# A run counts its own attempts without progress, but not those that ended before the run started.
_MOST_RESTARTS_UNSAVED = 20
_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def run_job(command: Sequence[str], *, record: Path | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run `command` once on each node of this SLURM job, requeue the job if needed, and return the exit code.

    A command that ends with `ExitCode.INTERRUPTED` has saved its state: the job is requeued, unless SLURM has already
    done so or the job was cancelled. Any other non-zero exit code ends the job.

    Args:
        command: program and arguments; not interpreted by a shell.
        record: file that says how the job ended, as a substitute for `sacct`: JSON with `code` or `signal`, `job`,
            `job_id`, `restarts`, `host` and `time`. It is written if the job has failed and will not be requeued, and
            removed if the job succeeds.
        environment: default: the environment of this process.

    Raises:
        SettingsError: this process is not in a SLURM job.
        StorageError: the record cannot be written.
    """
    given = dict(os.environ if environment is None else environment)
    here = allocation({name: value for name, value in given.items() if not name.startswith("SLURM_STEP")})
    if here is None:
        raise SettingsError(
            "ternlab.slurm.job",
            rule="must be run as the script of a SLURM job",
            instead="sbatch slurm/train.sbatch SETTINGS...",
        )
    with _undisturbed():
        code = _run(step_command(here, command, given), step_environment(given))
        if code == 0:
            if record is not None:
                record.unlink(missing_ok=True)
        elif not _comes_back(here, code) and record is not None:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_json(record, _ending(here, code))
    return code


def _run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run the step to completion, whatever signals arrive, and return the highest exit code of its tasks."""
    process: subprocess.Popen[bytes] | None = None

    def caught(number: int, frame: FrameType | None) -> None:
        # The tasks get all signals from SLURM. Signals sent only to the script (--signal=B:USR2) are forwarded to them,
        # except TERM and INT, on which srun kills its tasks.
        if process is not None and number in (signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(number)

    for number in _CAUGHT:
        signal.signal(number, caught)
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    code = process.wait()
    # scontrol inherits this; otherwise SLURM would kill it with the rest of a job that it requeues.
    for number in _CAUGHT:
        signal.signal(number, signal.SIG_IGN)
    return 128 - code if code < 0 else code


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore the previous signal handlers when the block ends."""
    before = {number: signal.getsignal(number) for number in _CAUGHT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _comes_back(here: Allocation, code: int) -> bool:
    """Return whether the job will run again, after requeueing it if that is up to this process."""
    fate = fate_of(here)
    if fate == Fate.REQUEUED:
        _log.info("job %s: requeued by SLURM", here.job)
        return True
    if code != ExitCode.INTERRUPTED and code not in _ANNOUNCING:
        _log.info("job %s: exited with code %d", here.job, code)
        return False
    if fate not in (Fate.RUNNING, Fate.TIMED_OUT):
        _log.info("job %s: stopped (%s), not requeued", here.job, fate)
        return False
    if code in _ANNOUNCING and here.restarts >= _MOST_RESTARTS_UNSAVED:
        _log.info("job %s: ended before the run started, after %d restarts; not requeued", here.job, here.restarts)
        return False
    if requeue(here):
        _log.info("job %s: saved and requeued (%s)", here.job, fate)
        return True
    _log.info("job %s: saved, but SLURM did not requeue it (see #SBATCH --requeue)", here.job)
    return False


def _ending(here: Allocation, code: int) -> dict[str, str | int | None]:
    number = code - 128
    killed = number in {member.value for member in signal.Signals}
    return {
        "code": None if killed else code,
        "signal": signal.Signals(number).name if killed else None,
        "job": here.job,
        "job_id": here.job_id,
        "restarts": here.restarts,
        "host": socket.gethostname(),
        "time": now(),
    }


def main(arguments: Sequence[str]) -> int:
    """Run the job given on the command line."""
    log_to_terminal()
    record = None
    if arguments and arguments[0].startswith("--record="):
        record = Path(arguments[0].removeprefix("--record="))
        arguments = arguments[1:]
    try:
        if not arguments:
            raise SettingsError("ternlab.slurm.job", rule="needs a command", instead="... python src/train.py SETTINGS")
        return run_job(arguments, record=record)
    except TernlabError as error:
        _log.error("%s", error)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
