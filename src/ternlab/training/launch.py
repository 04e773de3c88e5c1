"""Training in as many processes as the settings ask for; one, or several under torchrun."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ternlab.data.module import build_data
from ternlab.errors import (
    DivergedError,
    ExitCode,
    RunHeldError,
    RunInterrupted,
    StorageError,
    TernlabError,
)
from ternlab.logs import FOR_A_PERSON
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.signals import StopRequest, die_with_parent

# Not below "ternlab", so that its lines reach the log file and not the terminal.
_torchrun = logging.getLogger("torchrun")
_CLASSES: dict[int, type[TernlabError]] = {
    ExitCode.HELD: RunHeldError,
    ExitCode.DIVERGED: DivergedError,
    ExitCode.INTERRUPTED: RunInterrupted,
    ExitCode.STORAGE: StorageError,
}


def train_in_processes(
    settings: Settings, directory: RunDirectory, start: Path | None, stop: StopRequest
) -> dict[str, Any]:
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
    # Once, here: each process would otherwise fetch the same files.
    build_data(settings.data, data_dir=Path(settings.paths.data), seed=settings.seed).prepare_data()
    stop.leave_if_asked()
    process = subprocess.Popen(
        [sys.executable, "-m", *launcher, "-m", "ternlab.training.rank", *arguments],
        # Its own session: a Ctrl-C at the terminal reaches this process alone, which passes it on once.
        start_new_session=True,
        preexec_fn=die_with_parent,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    relay = threading.Thread(target=_relay, args=(process,), daemon=True)
    relay.start()
    _wait(process, stop)
    relay.join(timeout=5)
    return _result(directory, process.returncode)


def result_file(directory: RunDirectory) -> Path:
    """Return the file in which the processes leave their outcome, or why they ended."""
    return directory.path / "outcome.json"


def _relay(process: subprocess.Popen[str]) -> None:
    """Pass the lines that are meant for a person on; torchrun's own go to the run's log."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(FOR_A_PERSON):
            print(line.removeprefix(FOR_A_PERSON).rstrip(), file=sys.stderr, flush=True)
        else:
            _torchrun.info("%s", line.rstrip())


def _wait(process: subprocess.Popen[str], stop: StopRequest) -> None:
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
