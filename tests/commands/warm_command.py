"""The commands in processes that have torch already: as `run_command`, without seconds of imports for each.

Each command is a process of its own, with its own exit code, signals and locks; only the start of the interpreter and
the imports are those of a server from which it is forked. Tests of the start itself take `run_command`.
"""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.commands.run_command import LONG, ROOT, environment
from tests.fork_server import FORK_SERVER


class WarmProcess:
    """A command that was forked; what it prints is kept in files and returned at its end.

    Args:
        folder: in which it works.
        arguments: of the command line.
        script: below src/.
        variables: the whole environment.
    """

    def __init__(self, folder: Path, arguments: tuple[str, ...], script: str, variables: dict[str, str]) -> None:
        self._output = Path(tempfile.mkdtemp(prefix="warm-"))
        typed = [str(ROOT / "src" / script), *arguments]
        self._process = FORK_SERVER.Process(
            target=_command, args=(folder, typed, variables, self._output), daemon=False
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; `None` while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end; return what it printed on standard output and standard error."""
        self._process.join(timeout)
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            raise TimeoutError(f"it did not end:\n{self._printed('stderr')}")
        printed = self._printed("stdout"), self._printed("stderr")
        shutil.rmtree(self._output)
        return printed

    def _printed(self, name: str) -> str:
        path = self._output / name
        # A process that was killed at once has printed nothing.
        return path.read_text() if path.exists() else ""


def start(folder: Path, *arguments: str, script: str = "train.py", **more: str) -> WarmProcess:
    """Start a command in `folder`, as `run_command.start` does."""
    return WarmProcess(folder, arguments, script, environment(more))


def run(folder: Path, *arguments: str, script: str = "train.py", **more: str) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, standard output and standard error."""
    process = start(folder, *arguments, script=script, **more)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode is not None
    return process.returncode, out, err


def _command(folder: Path, typed: list[str], variables: dict[str, str], output: Path) -> None:
    """Become the process of the command that was typed, in a process that was just forked."""
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT, 0o644), stream.fileno())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:0] = variables["PYTHONPATH"].split(os.pathsep)
    sys.argv = typed
    # Records keep the command line from here.
    sys.orig_argv = [sys.executable, *typed]
    runpy.run_path(typed[0], run_name="__main__")
