"""What several test processes share: made by the first that asks, once in each call of pytest."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled; the tests only read it.

    Args:
        factory: of the process that asks.
        name: of the folder, the same for all that share it.
        make: takes the empty folder; when it fails, the next process tries afresh.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each worker has a folder of its own below that of the call.
        base = base.parent
    done = base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder = base / f"{name}-{len(list(base.glob(f'{name}-*')))}"
            folder.mkdir()
            make(folder)
            done.write_text(str(folder))
    return Path(done.read_text())
