"""Curves in a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.reports.plots import panels, sparkline

VALUES = st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=80)


def test_a_line_goes_from_low_to_high() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], unicode=True) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, None, 0], unicode=True) == "█ ▁"
    assert sparkline([0, 7], unicode=False) == "_#"
    assert sparkline([5, 5], unicode=True) == "▅▅"
    assert sparkline([], unicode=True) == ""


def test_a_long_line_keeps_its_ends() -> None:
    line = sparkline([*range(100)], 10, unicode=True)
    assert len(line) == 10 and line[0] == "▁" and line[-1] == "█"


def test_a_panel_has_its_curve_where_the_values_are() -> None:
    rising = panels([("up", [0.0, 1.0])], 20, 4, ".1f", unicode=False)
    assert [line.rstrip()[6:].find("*") for line in rising[1:]] == sorted(
        (line.rstrip()[6:].find("*") for line in rising[1:]), reverse=True
    )
    assert rising[1].startswith("1.0 |") and rising[-1].startswith("0.0 |")
    # A second, constant curve shares the axis of the first.
    both = panels([("up", [0.0, 1.0]), ("flat", [1.0, 1.0])], 40, 4, ".1f", unicode=False)
    assert both[1].split("|")[2].strip("* ") == "" and "*" in both[1].split("|")[2] and "*" not in both[4].split("|")[2]


@given(VALUES, VALUES, st.integers(20, 160), st.booleans())
def test_any_curve_is_drawn(first: list[float | None], second: list[float | None], width: int, unicode: bool) -> None:
    lines = panels([("a", first), ("b", second)], width, 8, ".3g", unicode=unicode)
    assert len(lines) == 9
    assert all(line.isprintable() for line in [*lines, sparkline(first, unicode=unicode)])
    assert unicode or all(line.isascii() for line in [*lines, sparkline(first, unicode=False)])


@pytest.mark.parametrize("width", [80, 160])
def test_panels_stay_in_the_terminal(width: int) -> None:
    lines = panels([("train/top1", [50.0, 90.5]), ("val/top1", [45.0, 88.0])], width, 8, ".1f", unicode=True)
    assert max(map(len, lines)) <= width
