"""A heat map as an image, drawn with Pillow; it can be viewed in W&B or in any image viewer."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from ternlab.reports.page.chart_data import ordered, reach_of
from ternlab.reports.seed_groups import Cell, HeatMap, shown_value

_CELL = (104, 60)
_LEFT, _TOP, _RIGHT, _BOTTOM = 120, 64, 24, 64
_TEXT, _GREY = (32, 32, 32), (110, 110, 110)
# Red: accuracy lost; blue: accuracy gained.
_LOST, _GAINED = (202, 72, 44), (38, 112, 178)


def heat_map_picture(heat: HeatMap) -> Image.Image:
    """Return an image of mean degradation over two settings, with the number of seeds per cell.

    Args:
        heat: a map with at least one cell; cells without runs stay white.
    """
    columns, rows = ordered(cell.x for cell in heat.cells), ordered(cell.y for cell in heat.cells)
    size = (_LEFT + len(columns) * _CELL[0] + _RIGHT, _TOP + len(rows) * _CELL[1] + _BOTTOM)
    picture = Image.new("RGB", (max(size[0], 560), size[1]), "white")
    draw = ImageDraw.Draw(picture)
    _text(draw, (12, 20), "degradation, top-1 (percentage points), mean over seeds", 15, anchor="lm")
    _text(draw, (12, 42), f"{heat.y} (down) x {heat.x} (across) {heat.words}".strip(), 12, _GREY, anchor="lm")
    means = [cell.group.degradation.mean or 0.0 for cell in heat.cells]
    for cell in heat.cells:
        place = columns.index(shown_value(cell.x)), rows.index(shown_value(cell.y))
        _draw_cell(draw, cell, place, reach_of(means))
    for number, text in enumerate(columns):
        _text(draw, (_LEFT + (number + 0.5) * _CELL[0], size[1] - _BOTTOM + 18), text, 13)
    for number, text in enumerate(rows):
        _text(draw, (_LEFT - 12, _TOP + (number + 0.5) * _CELL[1]), text, 13, anchor="rm")
    return picture


def _draw_cell(draw: ImageDraw.ImageDraw, cell: Cell, place: tuple[int, int], reach: float) -> None:
    left, top = _LEFT + place[0] * _CELL[0], _TOP + place[1] * _CELL[1]
    found = cell.group.degradation
    share = (found.mean or 0.0) / reach
    draw.rectangle((left + 1, top + 1, left + _CELL[0] - 2, top + _CELL[1] - 2), fill=_colour(share))
    ink = "white" if abs(share) > 0.6 else _TEXT
    middle = left + _CELL[0] / 2
    _text(draw, (middle, top + 24), "" if found.mean is None else f"{found.mean:+.2f}", 16, ink)
    _text(draw, (middle, top + 44), f"n = {found.n}", 11, ink)


def _colour(share: float) -> tuple[int, int, int]:
    """Return white at 0 and full colour at -1 and 1."""
    full = _LOST if share > 0 else _GAINED
    red, green, blue = (round(255 + (part - 255) * min(1.0, abs(share))) for part in full)
    return red, green, blue


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    fill: str | tuple[int, int, int] = _TEXT,
    anchor: str = "mm",
) -> None:
    draw.text(at, text, font=ImageFont.load_default(size), fill=fill, anchor=anchor)
