"""Metric tables: CSV files that are always complete."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ternlab.core.files import write_text

Row = dict[str, Any]


class MetricsTable:
    """Rows with a `step` column; every addition rewrites the whole file atomically.

    Args:
        path: a CSV file; existing rows are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[Row] = list(read_table(path))

    def add(self, *rows: Row) -> None:
        """Append rows; a new column is empty in earlier rows."""
        self.rows.extend(rows)
        self._write()

    def keep_until(self, step: int) -> None:
        """Drop the rows after `step`; a resumed run writes them again."""
        kept = [row for row in self.rows if int(row["step"]) <= step]
        if len(kept) != len(self.rows):
            self.rows = kept
            self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._path, text.getvalue())


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table as strings, or `[]` if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
