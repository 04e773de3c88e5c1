"""One process at a time works in a run's folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from ternlab.errors import RunHeldError, StorageError


class RunLock:
    """Hold a run's folder for this process while the block runs.

    It is a POSIX record lock: the kernel lets go of it when its process dies, however it dies, so a stale
    lock cannot exist on one machine; child processes do not inherit it; and it works over NFS version 4.

    Args:
        path: the lock file; it stays afterwards, only the lock on it counts.

    Raises:
        RunHeldError: on entry, when another process holds the lock; the message says which.
        StorageError: on entry, when the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise StorageError(f"{self.path}: cannot be locked ({error.strerror}).") from error
            holder = os.read(descriptor, 4096).decode(errors="replace")
            os.close(descriptor)
            raise RunHeldError(self._held_by(holder)) from None
        # Who holds it is only for messages; a full disk is reported by what is written next.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_this_process()).encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _held_by(self, text: str) -> str:
        try:
            holder = json.loads(text)
            who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (ValueError, KeyError, TypeError):
            who = "another process"
        return (
            f"The run in {self.path.parent} is held by {who}.\n"
            "  instead: wait for it, stop it (its state is saved), or change a setting to make another run"
        )


def _this_process() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
