"""The catalog of metrics and its page."""

from __future__ import annotations

import re
from pathlib import Path

from ternlab.reports.metrics_catalog import EPOCHS, LAYERS, RECORD, catalog, metrics_of

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `([\w/]+)` \| (\w*) \| (higher|lower|) \| ([\w., ]+) \| (.+) \|")


def test_the_page_has_the_catalog() -> None:
    rows = [ROW.fullmatch(line) for line in PAGE.read_text().splitlines()]
    found = [match.groups() for match in rows if match]
    expected = [(one.name, one.unit, one.better, ", ".join(one.places), one.meaning) for one in catalog().values()]
    assert found == expected


def test_a_metric_has_its_name() -> None:
    assert all(name == metric.name for name, metric in catalog().items())


def test_places() -> None:
    assert set(metrics_of(RECORD)) & set(metrics_of(EPOCHS)) == {"val/top1", "val/top5", "val/loss", "quant/sparsity"}
    assert set(metrics_of(EPOCHS)) & set(metrics_of(LAYERS)) == {"epoch", "step"}
    # Columns of the table of runs: a metric of a record has a slash, and nothing else has.
    assert all("/" in name for name in metrics_of(RECORD))
