"""The accuracy cost of int8 activations: compares a file with torch, and warns if the difference is large."""

from __future__ import annotations

from ternlab.core.cpu import this_cpu

LARGEST_LOSS = 1.0
"""Difference in top-1 (percentage points) between torch and an int8 file above which the user is warned."""


def warning(what: str, int8: float, torch: float) -> str | None:
    """Return a warning if the top-1 of an int8 network differs from torch by more than a point, else `None`.

    Args:
        what: the file, or the runtime that ran it.
        int8: its top-1 on the test images, percent.
        torch: the top-1 of torch on the same images, percent.
    """
    lost = torch - int8
    if abs(lost) <= LARGEST_LOSS:
        return None
    verb = "loses" if lost > 0 else "gains"
    return (
        f"{what} {verb} {abs(lost):.2f} percentage points of top-1 to rounding: {int8:.2f} % instead of {torch:.2f} % "
        f"in torch, measured on {this_cpu()}.\n"
        "  instead: calibration=percentile, images=N with more calibration images, or a float32 file"
    )
