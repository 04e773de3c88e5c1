"""Running the commands as a user does: real processes, real exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

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


def start(folder: Path, *arguments: str, script: str = "train.py", **environment: str) -> subprocess.Popen[str]:
    """Start a command in `folder`; one thread, so that its bits do not depend on the machine."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **environment}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "src" / script), *arguments],
        cwd=folder,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(folder: Path, *arguments: str, script: str = "train.py", **environment: str) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, standard output and standard error."""
    process = start(folder, *arguments, script=script, **environment)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(folder: Path, pattern: str, seconds: float = 400) -> None:
    """Wait until a file that matches `pattern` is there in a run's folder below `folder`."""
    end = time.monotonic() + seconds
    while not list((folder / "logs" / "runs").glob(pattern)):
        if time.monotonic() > end:
            raise TimeoutError(f"{pattern} did not appear")
        time.sleep(0.02)


def stop(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> tuple[int, str, str]:
    """Send a signal and wait for the end; return exit code, standard output and standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err
