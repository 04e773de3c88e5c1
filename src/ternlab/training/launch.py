"""Training in the number of processes that the settings ask for: started with torchrun, on one or several nodes."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ternlab.core.errors import (
    DivergedError,
    ExitCode,
    RunHeldError,
    RunInterrupted,
    StorageError,
    TernlabError,
)
from ternlab.core.logs import FOR_A_PERSON, log_to_file
from ternlab.core.signals import StopRequest, die_with_parent
from ternlab.data.module import build_data
from ternlab.runs.directory import RunDirectory
from ternlab.runs.needs import Inputs
from ternlab.settings.root import Settings
from ternlab.training.rendezvous import ENDING_SECONDS, Call, Follower, Leader, check_address, lasting, wait_until

# Not a child of "ternlab", so that its lines go to the log file and not to the terminal.
_torchrun = logging.getLogger("torchrun")
_CLASSES: dict[int, type[TernlabError]] = {
    ExitCode.HELD: RunHeldError,
    ExitCode.DIVERGED: DivergedError,
    ExitCode.INTERRUPTED: RunInterrupted,
    ExitCode.STORAGE: StorageError,
}


def train_in_processes(
    settings: Settings, directory: RunDirectory, inputs: Inputs, stop: StopRequest, leader: Leader | None = None
) -> dict[str, Any]:
    """Train the run of `directory` in `trainer.devices` processes on this node and on the other nodes of `leader`.

    The processes read the frozen settings and the inputs from the run directory, not from this process's command line.

    Returns:
        the result of the first process, as plain values.

    Raises:
        TernlabError: an error of the class that ended the processes.
    """
    outcome = result_file(directory)
    outcome.unlink(missing_ok=True)
    directory.write_inputs(inputs)
    # Before the processes start, which would otherwise all fetch the same files.
    _prepare_data(settings)
    stop.leave_if_asked()
    if leader is None:
        code = _run(settings, ["--standalone"], directory, outcome, stop, lambda: False)
        return _result(directory, outcome, code, stop)
    call = leader.call(directory.path, stop)
    failed = lasting(lambda: leader.error_elsewhere(call) is not None)
    code = _run(settings, call.rendezvous(leader.nodes, 0), directory, outcome, stop, failed)
    if code and not outcome.exists() and stop.signal is None:
        # The processes lost the connection to one that failed elsewhere; report its error.
        wait_until(lambda: leader.error_elsewhere(call) is not None, ENDING_SECONDS / 3)
        error = leader.error_elsewhere(call)
        if error is not None:
            raise _error(error["exit_code"], error["error"])
    return _result(directory, outcome, code, stop)


def join(call: Call, follower: Follower, stop: StopRequest) -> None:
    """Join a training that another node leads, with `trainer.devices` processes.

    Raises:
        TernlabError: an error of the class that ended the processes on this node.
    """
    directory = RunDirectory(call.run)
    outcome = follower.outcome_file(call)
    with log_to_file(log_file(directory, follower.node)):
        check_address(call)
        settings = directory.settings()
        # In case the data is not on the shared file system.
        _prepare_data(settings)
        rendezvous = call.rendezvous(follower.nodes, follower.node)
        code = _run(settings, rendezvous, directory, outcome, stop, lasting(follower.over))
        if code:
            _result(directory, outcome, code, stop)


def result_file(directory: RunDirectory) -> Path:
    """Return the file in which the processes of the first node write their result or error."""
    return directory.path / "outcome.json"


def log_file(directory: RunDirectory, node: int) -> Path:
    """Return the log of a node; each has its own, because appends from several machines overwrite each other."""
    return directory.path / f"log-node-{node}.txt" if node else directory.log_file


def _prepare_data(settings: Settings) -> None:
    build_data(settings.data, data_dir=Path(settings.paths.data), seed=settings.seed).prepare_data()


def _run(
    settings: Settings,
    rendezvous: list[str],
    directory: RunDirectory,
    outcome: Path,
    stop: StopRequest,
    given_up: Callable[[], bool],
) -> int:
    """Run this node's processes to completion and return torchrun's exit code."""
    launcher = ["torch.distributed.run", *rendezvous, f"--nproc-per-node={settings.trainer.devices}"]
    process = subprocess.Popen(
        [sys.executable, "-m", *launcher, "-m", "ternlab.training.worker", str(directory.path), str(outcome)],
        # Its own session: Ctrl-C in the terminal reaches only this process, which forwards it once.
        start_new_session=True,
        preexec_fn=_prepare_torchrun,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    relay = threading.Thread(target=_relay, args=(process,), daemon=True)
    relay.start()
    _wait(process, stop, given_up)
    relay.join(timeout=5)
    return process.returncode


def _prepare_torchrun() -> None:
    die_with_parent()
    # SLURM signals every process of a job. These would kill torchrun immediately, before its processes have saved.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _relay(process: subprocess.Popen[str]) -> None:
    """Forward the lines meant for the user; torchrun's own lines go to the run's log."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(FOR_A_PERSON):
            print(line.removeprefix(FOR_A_PERSON).rstrip(), file=sys.stderr, flush=True)
        else:
            _torchrun.info("%s", line.rstrip())


def _wait(process: subprocess.Popen[str], stop: StopRequest, given_up: Callable[[], bool]) -> None:
    told: float | None = None
    while True:
        try:
            process.wait(timeout=0.2)
            return
        except subprocess.TimeoutExpired:
            abandoned = given_up()
            if told is None and (stop.signal is not None or abandoned):
                process.send_signal(signal.SIGTERM)
                told = time.monotonic()
            # While torchrun waits for other nodes, it ignores TERM; by now its processes have had time to save.
            elif told is not None and abandoned and time.monotonic() - told > 2 * ENDING_SECONDS:
                process.kill()


def _result(directory: RunDirectory, outcome: Path, code: int, stop: StopRequest) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(outcome.read_text())
    except (OSError, ValueError):
        # A signal kills processes that are still importing.
        stop.leave_if_asked()
        raise TernlabError(
            f"The training processes exited with code {code} and wrote no result.\n  instead: see {directory.log_file}"
        ) from None
    finally:
        if outcome == result_file(directory):
            outcome.unlink(missing_ok=True)
    if "error" in result:
        raise _error(result["exit_code"], result["error"])
    return result


def _error(code: int, message: str) -> TernlabError:
    error = _CLASSES.get(code, TernlabError)(message)
    error.exit_code = ExitCode(code)
    return error
