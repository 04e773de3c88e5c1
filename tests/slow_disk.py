"""A plugin that makes a file system slow: with it, the size of a file takes a tenth of a second.

The first file that is looked at creates `listing` in the working directory, so that a test knows when to interrupt.
"""

from __future__ import annotations

import os.path
import time
from pathlib import Path

_size = os.path.getsize


def getsize(path: str) -> int:
    """Return the size of a file, slowly."""
    Path("listing").touch()
    time.sleep(0.1)
    return _size(path)


os.path.getsize = getsize  # type: ignore[assignment]
