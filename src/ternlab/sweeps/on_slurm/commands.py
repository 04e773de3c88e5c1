"""Runs SLURM commands as argument lists, with a timeout, and keeps their error messages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ternlab.core.errors import InfrastructureError
from ternlab.core.signals import die_with_parent

# sbatch retries by itself for up to a minute if SLURM currently accepts no jobs.
_SECONDS = 120.0
# The user's defaults and filters for the commands, and variables of an allocation in which this process runs. With
# them, a listing could miss jobs, and a job could differ from its batch file.
_FOREIGN = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SCONTROL_", "SINFO_", "SACCT_", "SRUN_")
_KEPT = {"SLURM_CONF", "SLURM_JWT"}
# The user's defaults for optional settings of `cluster`; a job without `cluster.partition` uses them.
DEFAULTS = ("SBATCH_PARTITION", "SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_CONSTRAINT", "SBATCH_RESERVATION")
# Messages of the commands after which it is unknown whether SLURM received the request.
_SILENT = ("timed out", "unable to contact", "connection", "communication", "zero bytes", "socket", "not responding")


@dataclass(frozen=True)
class Answer:
    """The result of a command.

    Attributes:
        code: exit code; `None` if it timed out.
        out: standard output.
        err: standard error.
    """

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def silent(self) -> bool:
        """Whether SLURM did not respond, so that it is unknown whether it carried out the request."""
        words = self.err.lower()
        return self.code is None or (self.code != 0 and any(sign in words for sign in _SILENT))

    @property
    def words(self) -> str:
        """The error message of the command, in one line."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return " / ".join(lines) or f"exited with code {self.code} without a message"


class NoAnswerError(InfrastructureError):
    """A SLURM command has failed or timed out."""


# Runs a command; the second argument names user variables to keep, in addition to those named after the command.
CommandRunner = Callable[[Sequence[str], Sequence[str]], Answer]


def run_command(command: Sequence[str], kept: Sequence[str] = ()) -> Answer:
    """Run a SLURM command and return its result.

    Args:
        command: program and arguments.
        kept: SLURM environment variables to pass to it.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env=_environment(kept),
            stdin=subprocess.DEVNULL,
            # Nothing is submitted after the launcher has died.
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, err=f"{command[0]} timed out after {_SECONDS:.0f} s")
    except OSError as error:
        return Answer(127, err=f"{command[0]}: {error.strerror}")
    return Answer(done.returncode, done.stdout, done.stderr)


def output_of(run: CommandRunner, *command: str) -> str:
    """Return the output of a command.

    Raises:
        NoAnswerError: it fails.
    """
    answer = run(command, ())
    if answer.code != 0:
        raise NoAnswerError(f"{command[0]}: {answer.words}")
    return answer.out


def _environment(kept: Sequence[str]) -> dict[str, str]:
    wanted = {*_KEPT, *kept}
    return {name: value for name, value in os.environ.items() if name in wanted or not name.startswith(_FOREIGN)}
