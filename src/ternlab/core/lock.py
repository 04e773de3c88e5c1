"""A lock that lets only one process at a time work in a run directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType

from ternlab.core.errors import RunHeldError, StorageError

# struct flock of 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi4x"


class RunLock:
    """Hold the lock of a run directory while the block runs.

    This is a POSIX record lock. The kernel releases it when the process dies, however it dies, so there are no stale
    locks on one machine. Child processes do not inherit it, and it works over NFSv4.

    Args:
        path: the lock file; it is not deleted, because only the lock on it counts.

    Raises:
        RunHeldError: on entry, if another process holds the lock; the message says which.
        StorageError: on entry, if the file system does not support locks.
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
        # The holder is only used in messages; a full disk is reported by the next write.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_this_process()).encode())
        self._descriptor = descriptor
        return self

    def held(self) -> bool:
        """Return whether another process holds the lock, without taking it."""
        return self.holder() is not None

    def holder(self) -> dict[str, str | int] | None:
        """Return `pid`, `host` and `since` of the process that holds the lock, or `None` if it is free."""
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except OSError:
            return None
        try:
            # The kernel returns the conflicting lock, or "unlocked" if there is none.
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0]
            if kind == fcntl.F_UNLCK:
                return None
            found: dict[str, str | int] = json.loads(os.read(descriptor, 4096))
            return found
        except OSError:
            return None
        except ValueError:
            # The holder has the lock but has not written its identity yet.
            return {"pid": 0, "host": "", "since": ""}
        finally:
            os.close(descriptor)

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
            "  instead: wait for it to finish, stop it (its state is saved), or change a setting for a different run"
        )


def _this_process() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
