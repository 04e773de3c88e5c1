"""Plots curves in a terminal: as one line of blocks, or a panel of braille dots; plain ASCII as a fallback."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ternlab.reports.terminal import draws_unicode

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_BLOCKS = "_.-~=+*#"
# Bits of the dots of a braille character, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800

Values = Sequence[float | None]


def sparkline(values: Values, width: int = 32, *, unicode: bool | None = None) -> str:
    """Return a curve as one line, from its least value (the lowest block) to its largest.

    Args:
        values: in order; `None` is a gap.
        width: maximum width in characters; longer curves are thinned out.
        unicode: draw with block characters; default: when the terminal has them.
    """
    blocks = _BLOCKS if _or_default(unicode) else _PLAIN_BLOCKS
    drawn = _thinned(values, width)
    low, high = _range([drawn])
    return "".join(" " if value is None else blocks[_level(value, low, high, len(blocks))] for value in drawn)


def panels(
    series: Sequence[tuple[str, Values]], width: int, height: int, form: str, *, unicode: bool | None = None
) -> list[str]:
    """Return lines with one panel for each curve, side by side, with the same vertical axis.

    Args:
        series: a title and the values of each curve; `None` is a gap. All have the same horizontal axis.
        width: characters of all panels together, with the axis.
        height: lines of a panel.
        form: format of the numbers at the axis, such as `.1f`.
        unicode: draw with braille characters; default: when the terminal has them.
    """
    draw = _or_default(unicode)
    low, high = _range([values for _, values in series])
    ends = [f"{high:{form}}", f"{low:{form}}"]
    margin = max(map(len, ends))
    each = max(8, (width - margin) // len(series) - 3)
    drawings = [_panel(values, low, high, each, height, draw) for _, values in series]
    labels = [ends[0], *[""] * (height - 2), ends[1]]
    bar = "│" if draw else "|"
    lines = [" " * margin + "".join(f"   {title[:each]:<{each}}" for title, _ in series)]
    for number, label in enumerate(labels):
        lines.append(f"{label:>{margin}}" + "".join(f" {bar} {drawing[number]}" for drawing in drawings))
    return [line.rstrip() for line in lines]


def _or_default(unicode: bool | None) -> bool:
    return draws_unicode() if unicode is None else unicode


def _thinned(values: Values, most: int) -> list[float | None]:
    finite = [value if value is not None and math.isfinite(value) else None for value in values]
    if len(finite) <= most:
        return finite
    return [finite[round(place * (len(finite) - 1) / (most - 1))] for place in range(most)]


def _range(curves: Sequence[Values]) -> tuple[float, float]:
    known = [value for values in curves for value in values if value is not None and math.isfinite(value)]
    return (min(known), max(known)) if known else (0.0, 0.0)


def _level(value: float, low: float, high: float, levels: int) -> int:
    """Return the level of a value, 0 for the least; a constant lies in the middle."""
    if high <= low:
        return levels // 2
    return min(levels - 1, int((value - low) / (high - low) * levels))


def _panel(values: Values, low: float, high: float, width: int, height: int, draw: bool) -> list[str]:
    across, down = (2, 4) if draw else (1, 1)
    columns, rows = width * across, height * down
    grid = [[0] * width for _ in range(height)]
    last = max(len(values) - 1, 1)
    before: tuple[int, int] | None = None
    for number, value in enumerate(values):
        if value is None or not math.isfinite(value):
            before = None
            continue
        point = round(number * (columns - 1) / last), rows - 1 - _level(value, low, high, rows)
        for x, y in _line(before or point, point):
            grid[y // down][x // across] |= _DOTS[y % down][x % across] if draw else 1
        before = point
    if draw:
        return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in row).ljust(width) for row in grid]
    return ["".join("*" if cell else " " for cell in row) for row in grid]


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    return [(round(x + dx * step / steps), round(y + dy * step / steps)) for step in range(steps + 1)]
