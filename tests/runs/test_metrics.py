"""Tables of metrics."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ternlab.runs.metrics import MetricsTable, read_table


def test_rows_are_on_disk_as_soon_as_they_are_added(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    table.add({"step": 3, "val/loss": 0.5})
    assert (tmp_path / "metrics.csv").read_text() == "step,val/loss\n3,0.5\n"
    table.add({"step": 6, "val/loss": 0.25}, {"step": 9, "val/loss": 0.125})
    assert [row["step"] for row in read_table(tmp_path / "metrics.csv")] == ["3", "6", "9"]


def test_a_new_column_is_empty_in_the_rows_before(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    MetricsTable(path).add({"step": 1, "a": 1.0})
    MetricsTable(path).add({"step": 2, "b": 2.0})
    assert read_table(path) == [{"step": "1", "a": "1.0", "b": ""}, {"step": "2", "a": "", "b": "2.0"}]


def test_keep_until_drops_the_rows_from_after_the_step_on_disk_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    MetricsTable(path).add(*({"step": step, "a": 0.1} for step in (3, 6, 9, 12)))
    table = MetricsTable(path)
    table.keep_until(9)
    assert [row["step"] for row in read_table(path)] == ["3", "6", "9"]
    table.keep_until(8)
    table.add({"step": 9, "a": 0.2})
    assert read_table(path) == [{"step": "3", "a": "0.1"}, {"step": "6", "a": "0.1"}, {"step": "9", "a": "0.2"}]
    table.keep_until(0)
    assert read_table(path) == []


def test_rows_that_are_written_again_give_the_same_bytes(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    rows = [{"step": step, "lr": 0.1 / 3**step, "note": 'a,"b"'} for step in range(5)]
    MetricsTable(whole).add(*rows)
    MetricsTable(resumed).add(*rows[:4])
    again = MetricsTable(resumed)
    again.keep_until(1)
    again.add(*rows[2:])
    assert resumed.read_bytes() == whole.read_bytes()


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=8))
def test_floats_come_back_to_the_last_bit(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.csv"
        MetricsTable(path).add(*({"step": step, "value": value} for step, value in enumerate(values)))
        # Read, and written again with a row more.
        MetricsTable(path).add({"step": len(values), "value": 0.1})
        assert [float(row["value"]) for row in read_table(path)] == [*values, 0.1]


def test_no_table_has_no_rows(tmp_path: Path) -> None:
    assert read_table(tmp_path / "metrics.csv") == []
    assert MetricsTable(tmp_path / "metrics.csv").rows == []
    assert list(tmp_path.iterdir()) == []
