"""The current time, as it is written to files."""

from __future__ import annotations

import time


def now() -> str:
    """Return the current date and time with time zone, in ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
