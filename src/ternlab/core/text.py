"""Tables as plain lines, whatever the width of the terminal: in a pipe no cell is broken."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Also nothing, a dash, a share and a ratio.
_NUMBER = re.compile(r"[-+\d.,e]*( %|x)?")


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines in which words stand to the left and columns of numbers to the right.

    Args:
        rows: of equal length; the first is the head.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [all(_is_number(cell) for cell in column[1:]) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        for row in rows
    ]
    return [line.rstrip() for line in lines]


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None
