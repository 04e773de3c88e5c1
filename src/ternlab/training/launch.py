"""Training in as many processes as the settings ask for; one, or several under torchrun."""

from __future__ import annotations

import ctypes
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ternlab.errors import (
    DivergedError,
    ExitCode,
    RunHeldError,
    RunInterrupted,
    StorageError,
    TernlabError,
)
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.signals import StopRequest

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_CLASSES: dict[int, type[TernlabError]] = {
    ExitCode.HELD: RunHeldError,
    ExitCode.DIVERGED: DivergedError,
    ExitCode.INTERRUPTED: RunInterrupted,
    ExitCode.STORAGE: StorageError,
}


def train_in_processes(settings: Settings, directory: RunDirectory, start: Path | None) -> dict[str, Any]:
    """Train `directory`'s run in `trainer.devices` processes on this machine.

    The processes read the frozen settings in the run's folder, not this process's command line.

    Returns:
        the outcome of the first process, as plain values.

    Raises:
        TernlabError: of the class that ended the processes.
    """
    result_file(directory).unlink(missing_ok=True)
    arguments = [str(directory.path), *([str(start)] if start else [])]
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={settings.trainer.devices}"]
    with StopRequest() as stop:
        process = subprocess.Popen(
            [sys.executable, "-m", *launcher, "-m", "ternlab.training.rank", *arguments],
            # Its own session: a Ctrl-C at the terminal reaches this process alone, which passes it on once.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        _wait(process, stop)
    return _result(directory, process.returncode)


def result_file(directory: RunDirectory) -> Path:
    """Return the file in which the processes leave their outcome, or why they ended."""
    return directory.path / "outcome.json"


def _wait(process: subprocess.Popen[bytes], stop: StopRequest) -> None:
    told = False
    while True:
        try:
            process.wait(timeout=0.2)
            return
        except subprocess.TimeoutExpired:
            if stop.signal is not None and not told:
                process.send_signal(signal.SIGTERM)
                told = True


def _result(directory: RunDirectory, code: int) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(result_file(directory).read_text())
    except (OSError, ValueError):
        raise TernlabError(
            f"The training processes ended with code {code} and left no outcome.\n  instead: see {directory.log_file}"
        ) from None
    finally:
        result_file(directory).unlink(missing_ok=True)
    if "error" in result:
        raise _error(result["exit_code"], result["error"])
    return result


def _error(code: int, message: str) -> TernlabError:
    error = _CLASSES.get(code, TernlabError)(message)
    error.exit_code = ExitCode(code)
    return error


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so that no process trains on without its run's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
