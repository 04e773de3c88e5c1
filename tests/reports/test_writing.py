"""Tables in every format: numbers stay numbers, and no name becomes markup, a formula or an escape sequence."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.reports.columns import column_of, sorted_by
from ternlab.reports.formatting import format_value
from ternlab.reports.layout import columns_of, fitting
from ternlab.reports.writing import as_csv, as_json, as_lines, as_markdown, as_parquet, rendered

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1"]
NASTY = [*FORMULAS, "a\x1b[31mb", "<b>x</b>", "a|b", "a\nb", "[red]x[/red]", "\u202ex"]
FRAME = pl.DataFrame(
    {
        "run_id": NASTY,
        "seed": range(len(NASTY)),
        "degradation/top1": [-1.5, None, float("nan"), *[0.001] * (len(NASTY) - 3)],
        "dirty": [True, False, None, *[True] * (len(NASTY) - 3)],
    }
)


def test_csv_defuses_text_and_keeps_numbers() -> None:
    head, *rows = csv.reader(io.StringIO(as_csv(FRAME), newline=""))
    assert head == FRAME.columns
    texts = [row[0] for row in rows]
    assert texts[:7] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "'\\r=1", "'  =1"]
    assert texts[7:] == ["a\\x1b[31mb", "<b>x</b>", "a|b", "a\nb", "[red]x[/red]", "\\u202ex"]
    assert [row[2] for row in rows[:3]] == ["-1.5", "", ""]
    assert [row[3] for row in rows[:3]] == ["true", "false", ""]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_no_text_begins_like_a_formula(text: str) -> None:
    cell = next(csv.reader(io.StringIO(as_csv(pl.DataFrame({"a": ["", text]})).split("\n", 2)[2], newline="")), [""])[0]
    assert not cell.lstrip(" \n").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "\x1b" not in cell and "\x00" not in cell


def test_json_has_plain_numbers_and_null() -> None:
    rows = json.loads(as_json(FRAME), parse_constant=lambda name: pytest.fail(name))
    assert [row["run_id"] for row in rows] == NASTY
    assert [row["degradation/top1"] for row in rows[:4]] == [-1.5, None, None, 0.001]
    assert rows[0]["dirty"] is True and rows[3]["seed"] == 3


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_keep_their_precision(values: list[float]) -> None:
    frame = pl.DataFrame({"test/top1": values})
    assert [row["test/top1"] for row in json.loads(as_json(frame))] == values
    assert [float(row) for row in as_csv(frame).splitlines()[1:]] == values


def test_parquet_is_read_back() -> None:
    assert pl.read_parquet(io.BytesIO(as_parquet(FRAME))).equals(FRAME, null_equal=True)


def test_markdown_shows_markup_as_text() -> None:
    lines = as_markdown(FRAME).splitlines()
    assert lines[0] == "| run\\_id | seed | degradation/top1 | dirty |"
    assert lines[1] == "| --- | ---: | ---: | --- |"
    assert len(lines) == 2 + len(NASTY)
    assert "| &lt;b&gt;x&lt;/b&gt; | 8 | +0.00 | true |" in lines
    assert "| a\\|b |" in lines[11] and "a\\\\nb" in lines[12]


def test_the_terminal_gets_no_control_characters() -> None:
    text = "\n".join(as_lines(FRAME)[0])
    assert all(one.isprintable() or one == "\n" for one in text)
    assert "a\\x1b[31mb" in text and "[red]x[/red]" in text and len(text.splitlines()) == 1 + len(NASTY)


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet", "markdown"])
def test_no_rows(form: str) -> None:
    assert rendered(FRAME.clear(), form)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("test/top1", 91.234, "91.23"),
        ("degradation/top1", 0.5, "+0.50"),
        ("degradation/top1", -0.001, "+0.00"),
        ("size/float_bytes", 1077736.0, "1,077,736"),
        ("compression/ratio", 15.8097, "15.81"),
        ("test/loss", 0.04, "0.0400"),
        ("seconds", 186.59, "187"),
        ("seed", 1000, "1000"),
        ("optim.lr", 1e-05, "1e-05"),
        ("optim.lr", 0.1 + 0.2, "0.3"),
        ("run_id", "x\x07", "x\\x07"),
        ("dirty", True, "true"),
        ("anything", None, ""),
    ],
)
def test_numbers(name: str, value: object, expected: str) -> None:
    assert format_value(name, value) == expected


def test_units_and_signs() -> None:
    assert format_value("test/top1", 91.234, unit=True) == "91.23 %"
    assert format_value("test/top1", 0.25, difference=True) == "+0.25"
    assert format_value("degradation/top1", -0.25, difference=True, unit=True) == "-0.25 points"
    assert format_value("seed", 2, difference=True) == "+2"


GROUPS = pl.DataFrame(
    {
        "quant": ["tga", "sws"],
        "n": [3, 1],
        **{f"test/top1/{part}": [value, None] for part, value in (("std", 0.5), ("low", 90.0), ("high", 92.0))},
        "test/top1/n": [3, 1],
        "test/top1/mean": [91.0, 90.0],
        "val/top1/n": [2, 1],
        "val/top1/mean": [80.0, 81.0],
    }
).select("quant", "n", "test/top1/n", "test/top1/mean", "test/top1/std", "test/top1/low", "test/top1/high",
         "val/top1/n", "val/top1/mean")  # fmt: skip


def test_groups_show_half_widths() -> None:
    columns = columns_of(GROUPS)
    assert [(column.head, column.cells) for column in columns] == [
        ("quant", ("tga", "sws")),
        ("n", ("3", "1")),
        ("test/top1", ("91.00", "90.00")),
        ("std", ("0.50", "")),
        (columns[4].head, ("1.00", "")),
        # Not every run of the first group has it.
        ("n", ("2", "1")),
        ("val/top1", ("80.00", "81.00")),
    ]
    assert columns[4].head in ("±95 %", "+-95 %")


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (None, 7),
        (200, 7),
        # A mean is not shown without its interval.
        (8 + 11 + 4, 2),
        (5, 1),
    ],
)
def test_columns_that_fit(width: int | None, heads: int) -> None:
    assert len(fitting(columns_of(GROUPS), width, 1)) == heads


def test_what_had_no_room_is_told() -> None:
    lines, left_out = as_lines(GROUPS, 10, 1)
    assert left_out == ["test/top1", "val/top1"] and lines[0] == "quant  n"


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2, None], pl.Int64, [1, 2, None]),
        ([1, 0.5], pl.Float64, [1.0, 0.5]),
        ([True, None], pl.Boolean, [True, None]),
        ([True, 1], pl.String, ["true", "1"]),
        (["auto", 32], pl.String, ["auto", "32"]),
        ([[1, 2], None], pl.String, ["[1,2]", None]),
        ([None], pl.String, [None]),
        ([2**70], pl.String, [str(2**70)]),
        (["\ud800"], pl.String, ["?"]),
    ],
)
def test_columns_have_the_narrowest_type(values: list[object], kind: object, expected: list[object]) -> None:
    column = column_of("a", values)
    assert column.dtype == kind and column.to_list() == expected


def test_what_is_missing_is_sorted_last() -> None:
    frame = pl.DataFrame({"a": [2, None, 1, 2], "b": ["x", "y", "z", "a"]})
    assert sorted_by(frame, ["a"])["b"].to_list() == ["z", "x", "a", "y"]
    assert sorted_by(frame, ["-a", "b"])["b"].to_list() == ["a", "x", "z", "y"]
