"""The page of a report in a real browser: no errors, charts with marks, hover, filter, clicks, widths, print."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ternlab.reports.page.document import page
from tests.reports.browser import Browser
from tests.reports.made_runs import make_run
from tests.reports.reading_page import gathered_from
from tests.reports.test_report_page import HOSTILE, make_grid, metrics

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium on PATH (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a grid with weights, a failed run, and a published network with a hostile name of its rule."""
    folder = tmp_path_factory.mktemp("report")
    runs = folder / "runs"
    make_grid(runs)
    make_run(runs, None, "failed", quant__name="tga", seed=7, record__error={"message": HOSTILE})
    make_run(runs, metrics(3.0), quant__name="sws", record__quant=HOSTILE, record__command=HOSTILE)
    changes = {"data__name": "cifar10", "model__name": "resnet20"}
    make_run(runs, metrics(1.0), quant__name="ttq", **changes)
    for path in runs.glob("*/layers.csv"):
        layers = {"conv1": (16, 1, 3, 3), "fc": (10, 64)}
        weights = {name: np.random.default_rng(0).normal(0, 0.1, shape) for name, shape in layers.items()}
        names = {f"{name}.parametrizations.weight.original": np.float32(weight) for name, weight in weights.items()}
        save_file(names, path.with_name("model.safetensors"))
    path = folder / "report.html"
    path.write_text(page(*gathered_from(runs)))
    return path


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser of its own for each test."""
    assert PROGRAM is not None
    with Browser(PROGRAM) as found:
        yield found


def marks(browser: Browser, place: str) -> int:
    """Return how many marks a chart has that can be seen."""
    return int(browser.run(f"document.querySelectorAll('#{place} .mark-group .role-mark path').length"))


CHARTS = ("settings", "size", "heat", "parallel", "curves", "layers-sparsity", "layers-threshold", "layers-scale",
          "published", "weights")  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_without_a_word_on_the_console(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    browser.open(report, width, scheme=scheme)
    assert browser.messages == []
    assert browser.requests == [report.resolve().as_uri()]
    assert {name: marks(browser, f"chart-{name}") > 0 for name in CHARTS} == dict.fromkeys(CHARTS, True)
    # Wide charts and tables scroll in their own places.
    assert browser.run("document.documentElement.scrollWidth") == width
    cut = "s => s.getBoundingClientRect().width > s.closest('.chart').clientWidth + 1"
    assert browser.run(f"[...document.querySelectorAll('.chart svg')].filter({cut}).length") == 0
    ink = browser.run("getComputedStyle(document.querySelector('#chart-size svg .role-axis-label text')).fill")
    assert (int(re.findall(r"\d+", ink)[0]) < 128) == (scheme == "light")


OVERLAPS = """[...document.querySelectorAll('.chart')].flatMap(chart => {
  const kinds = ['axis-label', 'axis-title', 'legend-label', 'legend-title'].map(kind => `.role-${kind} text`);
  const texts = [...chart.querySelectorAll(kinds.join())]
    .filter(text => text.textContent && text.getAttribute('opacity') !== '0')
    .map(text => [text.textContent, text.getBoundingClientRect()]);
  const meet = (p, q) => p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2;
  return texts.flatMap(([a, p], place) =>
    texts.slice(place + 1).filter(([, q]) => meet(p, q)).map(([b]) => `${chart.id}: ${a} / ${b}`));
})"""


@pytest.mark.parametrize("width", [1280, 390])
def test_texts_of_axes_and_legends_do_not_lie_on_one_another(browser: Browser, report: Path, width: int) -> None:
    browser.open(report, width)
    assert browser.run(OVERLAPS) == []


def test_hover_shows_the_seeds_of_a_cell(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.point_at("#chart-heat .mark-rect path", 0)
    browser.wait("document.querySelector('#vg-tooltip-element.visible') !== null")
    text = browser.run("document.querySelector('#vg-tooltip-element').textContent")
    assert re.search(r"seed 0: [+\u2212]\d\.\d\d, seed 1: [+\u2212]\d\.\d\d", text)
    assert browser.messages == []


@pytest.mark.parametrize(
    ("chart", "said"), [("parallel", "degradation"), ("curves", "settings"), ("layers-scale", "layer")]
)
def test_hover_finds_a_line_and_shows_it(browser: Browser, report: Path, chart: str, said: str) -> None:
    browser.open(report)
    lines = f"[...document.querySelectorAll('#chart-{chart} .mark-line path[opacity=\"0\"]')]"
    browser.run(f"document.querySelector('#chart-{chart}').scrollIntoView({{block: 'center'}})")
    # Nearly a third of the way: away from the epochs, which are marks of their own.
    script = """((path) => {
      const at = path.getPointAtLength(path.getTotalLength() * 0.3).matrixTransform(path.getScreenCTM());
      return [at.x, at.y];
    })"""
    browser.move_to(*browser.run(f"{script}({lines}[0])"))
    browser.wait("document.querySelector('#vg-tooltip-element.visible') !== null")
    assert said in browser.run("document.querySelector('#vg-tooltip-element').textContent")
    assert browser.run(f"{lines}.filter(path => getComputedStyle(path).opacity > 0).length") == 1
    assert browser.messages == []


def test_filter_changes_table_and_charts(browser: Browser, report: Path) -> None:
    browser.open(report)
    before = marks(browser, "chart-size"), marks(browser, "chart-curves")
    typed = "document.getElementById('filter').value = 'optim.lr=0.01 quant=tga'"
    browser.run(f"{typed}; document.getElementById('filter').dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('filter-count').textContent === '4 of 15 runs'")
    browser.wait(f"document.querySelectorAll('#chart-size .role-mark path').length < {before[0]}")
    browser.wait(f"document.querySelectorAll('#chart-curves .role-mark path').length < {before[1]}")
    rows = browser.run("[...document.querySelectorAll('#runs-body tr')].map(r => r.textContent)")
    assert len(rows) == 4
    assert all("optim.lr=0.01" in row for row in rows)
    browser.point_at("#filter-clear", click=True)
    browser.wait("document.querySelectorAll('#runs-body tr').length === 15")
    browser.wait(f"document.querySelectorAll('#chart-size .role-mark path').length === {before[0]}")
    assert browser.messages == []


def test_a_filter_that_nothing_fulfils_is_no_error(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.run("document.getElementById('filter').value = 'nothing'")
    browser.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('filter-count').textContent === '0 of 15 runs'")
    browser.wait("document.querySelectorAll('#chart-parallel .mark-line path').length === 0")
    assert browser.messages == []


def test_a_click_on_a_point_opens_its_run(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.run("document.getElementById('filter').value = 'seed=1 quant.threshold.init=0.2 optim.lr=0.1'")
    browser.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('filter-count').textContent === '1 of 15 runs'")
    shown = browser.run("document.querySelector('#runs-body [data-run]').dataset.run")
    selector = "#chart-settings .role-mark.layer_2_marks path"
    browser.wait(f"document.querySelectorAll({selector!r}).length === 1")
    browser.point_at(selector, 0, click=True)
    browser.wait("document.getElementById('details').open")
    text = browser.run("document.getElementById('details').textContent")
    assert shown in text
    assert "python src/train.py seed=1" in text and "degradation/top1" in text
    assert browser.messages == []


def test_a_click_on_a_row_opens_its_run_and_markup_is_text(browser: Browser, report: Path) -> None:
    browser.open(report)
    place = browser.run(
        "[...document.querySelectorAll('#runs-body tr')].findIndex(r => r.textContent.includes('alert(1)'))"
    )
    browser.point_at("#runs-body tr td:nth-child(2)", place, click=True)
    browser.wait("document.getElementById('details').open")
    assert "<script>alert(1)" in browser.run("document.getElementById('details-command').textContent")
    assert browser.run("document.querySelectorAll('#details script').length") == 0
    browser.point_at("#details .close", click=True)
    browser.wait("!document.getElementById('details').open")


def test_heads_sort_and_empty_cells_are_last(browser: Browser, report: Path) -> None:
    browser.open(report)
    column = "[...document.querySelectorAll('#runs-body tr td:nth-child(7)')].map(c => c.textContent)"
    for click in (1, 2):
        browser.point_at("#runs-head th:nth-child(7) button", click=True)
        found = [text.replace("\N{MINUS SIGN}", "-") for text in browser.run(column)]
        numbers = [float(text) for text in found if text]
        assert numbers == sorted(numbers, reverse=click == 2)
        assert len(numbers) == 10 and found[10:] == [""] * 5


def test_another_curve_and_another_run_can_be_chosen(browser: Browser, report: Path) -> None:
    browser.open(report)
    for section in ("curves", "layers"):
        select = f"document.querySelector('#{section}-controls select')"
        browser.run(f"{select}.selectedIndex = 1; {select}.dispatchEvent(new Event('change'))")
    browser.wait("document.querySelector('#chart-curves svg').textContent.includes('training top-1')")
    browser.wait("document.querySelector('#weights-controls select').selectedIndex === 1")
    assert marks(browser, "chart-layers-scale") > 0 and marks(browser, "chart-weights") > 0
    assert browser.messages == []


def test_a_narrower_window_has_its_charts_narrower(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.resize(500)
    browser.wait("document.querySelector('#chart-size svg').getBoundingClientRect().width < 500")
    assert browser.messages == []


def test_it_prints_in_light_colours(browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.open(report, scheme="dark")
    browser.print_to(tmp_path / "report.pdf")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type /Page\b(?!s)", printed)) <= 12
    assert browser.messages == []
