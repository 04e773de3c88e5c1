"""The launcher's side of the Ray driver process; requests and messages are lines of JSON."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ternlab.core.errors import InfrastructureError
from ternlab.sweeps.on_ray.connect import Request, environment, remove

Message = dict[str, Any]
# Ray creates sockets in it, whose paths can have at most 107 characters.
_LONGEST_SCRATCH = 40
# Tune and Ray shut down within a few seconds; after that they are not waited for.
_CLOSING_SECONDS = 30.0
_LAST_LINES = 5
_MOST_SAID = 1_000_000
_GLANCE_SECONDS = 0.25


class DriverProcess:
    """Starts the driver, which ends with this object or when this process dies.

    Args:
        address: address of an existing cluster (`None`: start its own).
        cores: CPUs of its own cluster.
        cpus: CPUs per trial.
        gpus: GPUs per trial.
        results: folder for Tune's results (`None`: they are not kept).
    """

    def __init__(self, address: str | None, cores: int, cpus: int, gpus: int, results: str | None = None) -> None:
        self._scratch = _scratch()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ternlab.sweeps.on_ray.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment(os.environ, address),
            text=True,
            # The launcher handles Ctrl-C and forwards it as a request.
            start_new_session=True,
        )
        self._news: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.send(asdict(Request(address, cores, cpus, gpus, str(self._scratch), results)))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._news.put(json.loads(line))
        self._news.put(None)

    def send(self, request: Message) -> None:
        """Send a request; if the process is gone, `news` reports it."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return

    def news(self, seconds: float | None = 0.0) -> Message | None:
        """Return the next message, or `None` if none arrives within the timeout (`None`: wait indefinitely).

        Raises:
            InfrastructureError: no message will arrive, since the process has ended.
        """
        try:
            message = self._news.get(timeout=seconds) if seconds != 0.0 else self._news.get_nowait()
        except queue.Empty:
            return None
        if message is None or "lost" in message:
            self._news.put(message)
            raise InfrastructureError(
                f"Ray no longer responds: {self._words() if message is None else message['lost']}\n"
                "  instead: re-run the command once the cluster is back; the runs are saved and will resume"
            )
        return message

    def first_answer(self, seconds: float, hopeless: str) -> Message:
        """Return the next message; empty if none arrives in time, or if the output shows that none will."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and hopeless not in self.said():
            message = self.news(_GLANCE_SECONDS)
            if message is not None:
                return message
        return {}

    def said(self) -> str:
        """Return the output of the process and of Ray's library."""
        return os.pread(self._said.fileno(), _MOST_SAID, 0).decode(errors="replace")

    def close(self) -> None:
        """End the process, and remove Ray's files."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(_CLOSING_SECONDS)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.kill()
        remove(self._scratch)

    def kill(self) -> None:
        """End the process at once; the kernel ends the processes of its own cluster with it."""
        self._process.kill()
        self._process.wait()

    def _words(self) -> str:
        """Return the last lines that the process printed."""
        code = self._process.wait()
        lines = self.said().strip().splitlines()[-_LAST_LINES:]
        return f"its driver exited with code {code}. " + " | ".join(lines)


def _scratch() -> Path:
    folder = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="tern-", dir=folder if len(folder) <= _LONGEST_SCRATCH else "/tmp"))  # noqa: S108
