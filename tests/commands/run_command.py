"""Running the commands as a user does: real processes, real exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]
# The tests' own modules, and the code beside them, whichever is installed.
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'src'}"

# Seconds after which something will never happen, on a machine that is slow and busy as well.
LONG = 600

TINY = (
    "plugins=[tests.tiny]",
    "model.name=tiny",
    "data.limit_train=96",
    "data.batch_size=32",
    "quant.init=scratch",
    "trainer=cpu",
    "trainer.precision=32",
    "trainer.max_epochs=2",
)


class Process(Protocol):
    """What the tests do with a process that they started."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, number: int) -> None: ...

    def communicate(self, timeout: float) -> tuple[str, str]: ...


def environment(more: dict[str, str]) -> dict[str, str]:
    """Return the variables of a command; one thread, so that its bits do not depend on the machine."""
    return {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **more}


def start(folder: Path, *arguments: str, script: str = "train.py", **more: str) -> subprocess.Popen[str]:
    """Start a command in `folder`; `more` are variables of its environment."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "src" / script), *arguments],
        cwd=folder,
        env=environment(more),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(folder: Path, *arguments: str, script: str = "train.py", **more: str) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, standard output and standard error."""
    process = start(folder, *arguments, script=script, **more)
    out, err = process.communicate(timeout=LONG)
    return process.returncode, out, err


def wait_for(folder: Path, pattern: str, seconds: float = LONG) -> None:
    """Wait until a file that matches `pattern` is there in a run's folder below `folder`."""
    end = time.monotonic() + seconds
    while not list((folder / "logs" / "runs").glob(pattern)):
        if time.monotonic() > end:
            raise TimeoutError(f"{pattern} did not appear")
        time.sleep(0.02)


def stop(process: Process, number: int = signal.SIGKILL) -> tuple[int, str, str]:
    """Send a signal and wait for the end; return exit code, standard output and standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode is not None
    return process.returncode, out, err
