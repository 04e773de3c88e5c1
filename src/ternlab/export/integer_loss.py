"""What int8 activations cost: the accuracy of a file beside that of torch, and a warning where it is much."""

from __future__ import annotations

from ternlab.core.cpu import this_cpu

LARGEST_LOSS = 1.0
"""Points of top-1 between torch and an int8 file from which a person is warned."""


def warning(what: str, int8: float, torch: float) -> str | None:
    """Return a warning when an int8 network scores more than a point off torch; `None` when it does not.

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
        f"{what} {verb} {abs(lost):.2f} points of top-1 to rounding: {int8:.2f} % instead of {torch:.2f} % in torch, "
        f"measured on {this_cpu()}.\n"
        "  instead: calibration=percentile, or images=N with more calibration images, or a file in float32"
    )
