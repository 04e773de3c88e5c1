"""The time of day, as files have it."""

from __future__ import annotations

import time


def now() -> str:
    """Return the time of day with its zone, in ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
