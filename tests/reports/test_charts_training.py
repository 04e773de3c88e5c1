"""Curves over the epochs."""

from __future__ import annotations

import pytest

from ternlab.reports.page.charts_training import curve_chart, layer_chart


@pytest.mark.parametrize(("epochs", "dots"), [(1, True), (2, False)])
def test_what_has_one_epoch_is_seen_as_dots(epochs: int, dots: bool) -> None:
    for chart in (curve_chart("val/top1", ["tga"], epochs, baselines=True), layer_chart("sparsity", epochs)):
        marks = [layer["mark"] for layer in chart.spec["layer"]]
        shown = [mark["point"] for mark in marks if mark["type"] == "line" and mark["style"] in ("curve", "baseline")]
        assert shown
        assert set(shown) == {dots}
