"""Tables as plain lines of any width, so that cells are never wrapped in a pipe."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Also matches an empty cell, a dash, a percentage and a ratio.
_NUMBER = re.compile(r"[-+\d.,e]*( %|x)?")


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines with text columns left-aligned and number columns right-aligned.

    Args:
        rows: rows of equal length; the first is the header.
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
