"""Figures of a report: SVG and PNG files, drawn without a browser."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from PIL import Image

from ternlab.reports.page.figures import WIDTH, write_figures
from tests.reports.reading_page import gathered_from
from tests.reports.test_report_page import HOSTILE, make_grid, make_run, metrics


def test_every_chart_is_a_figure(tmp_path: Path) -> None:
    make_grid(tmp_path / "runs")
    drawing = gathered_from(tmp_path / "runs")[2]
    drawing.close = drawing.close[:1]
    kept = ("size", "heat", "curves:val/top1", "layers-sparsity")
    drawing.charts = {name: drawing.charts[name] for name in kept}
    files = write_figures(drawing, tmp_path / "figures")
    stems = ["size", "heat-1", "curves-val-top1", "layers-sparsity-1"]
    named = [f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")]
    assert sorted(path.name for path in files) == sorted([*named, "captions.txt"])
    captions = dict(line.split(": ", 1) for line in (tmp_path / "figures" / "captions.txt").read_text().splitlines())
    assert list(captions) == stems and drawing.close[0] in captions["layers-sparsity-1"]
    for path in files[:-1]:
        if path.suffix == ".png":
            with Image.open(path) as image:
                # White paper, and something on it.
                assert image.convert("L").getextrema() < (200, 256)
                assert image.getpixel((2, 2))[:3] == (255, 255, 255)
        else:
            root = ET.fromstring(path.read_text())
            assert float(root.attrib["width"]) >= 0.8 * WIDTH
            assert "var(" not in path.read_text()


def test_the_heat_map_has_its_numbers(tmp_path: Path) -> None:
    make_grid(tmp_path / "runs")
    drawing = gathered_from(tmp_path / "runs")[2]
    drawing.charts = {"heat": drawing.charts["heat"]}
    write_figures(drawing, tmp_path)
    texts = [node.text for node in ET.fromstring((tmp_path / "heat-1.svg").read_text()).iter() if node.text]
    assert texts.count("n = 2") == 4
    assert {"+0.57", "+0.66", "+2.07", "+2.16"} <= set(texts)


def test_names_with_markup_are_text_in_figures(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", metrics(1.0), quant__name="tga", record__quant=HOSTILE.replace("\udc80", ""))
    drawing = gathered_from(tmp_path / "runs")[2]
    drawing.charts = {"settings": drawing.charts["settings"]}
    write_figures(drawing, tmp_path)
    root = ET.fromstring((tmp_path / "settings.svg").read_text())
    assert any("alert(1)" in (node.text or "") for node in root.iter())
    assert not [node for node in root.iter() if node.tag.endswith("script")]
