"""Running the commands of SLURM: as lists of words, with a time limit, and with their words when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ternlab.core.errors import InfrastructureError
from ternlab.core.signals import die_with_parent

# sbatch tries again by itself for up to a minute when SLURM takes no jobs at the moment.
_SECONDS = 120.0
# The user's own defaults and filters of the commands, and what an allocation in which this process runs has set: with
# them, a listing would miss jobs, and a job would be another one than its batch file says.
_FOREIGN = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SCONTROL_", "SINFO_", "SACCT_", "SRUN_")
_KEPT = {"SLURM_CONF", "SLURM_JWT"}
# Defaults of the user for what may be left out of `cluster`; a job without `cluster.partition` is to have his.
DEFAULTS = ("SBATCH_PARTITION", "SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_CONSTRAINT", "SBATCH_RESERVATION")
# As the commands say it when it is not known whether SLURM has heard them.
_SILENT = ("timed out", "unable to contact", "connection", "communication", "zero bytes", "socket", "not responding")


@dataclass(frozen=True)
class Answer:
    """What a command has said.

    Attributes:
        code: exit code; `None` when it did not end in time.
        out: standard output.
        err: standard error.
    """

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def silent(self) -> bool:
        """Whether SLURM itself has not answered, so that nobody knows whether it did what it was asked."""
        words = self.err.lower()
        return self.code is None or (self.code != 0 and any(sign in words for sign in _SILENT))

    @property
    def words(self) -> str:
        """What the command complains of, in one line."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return " / ".join(lines) or f"it ended with code {self.code} and without a word"


class NoAnswerError(InfrastructureError):
    """A command of SLURM has failed or has not ended."""


# Runs a command; the second argument names variables of the user that it keeps beside those that have its name.
CommandRunner = Callable[[Sequence[str], Sequence[str]], Answer]


def run_command(command: Sequence[str], kept: Sequence[str] = ()) -> Answer:
    """CommandRunner a command of SLURM to its end.

    Args:
        command: program and arguments.
        kept: variables of the environment that it sees although they belong to SLURM.
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
            # Nothing is submitted any more when the launcher is dead.
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, err=f"{command[0]} did not end within {_SECONDS:.0f} s")
    except OSError as error:
        return Answer(127, err=f"{command[0]}: {error.strerror}")
    return Answer(done.returncode, done.stdout, done.stderr)


def output_of(run: CommandRunner, *command: str) -> str:
    """Return what a command prints.

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
