"""The page of a report, from made records: its numbers, what it says of every kind of run, and that it is closed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reports.made_runs import make_run
from tests.reports.reading_page import ReadPage, page_of

HOSTILE = '</script><script>alert(1)</script><!-- "\'&=HYPERLINK("x") \u2028 ü 漢 \udc80'


def metrics(degradation: float, val: float = 90.0, size: float = 1000.0) -> dict[str, float]:
    """Return the metrics of a finished quantized run."""
    return {
        "test/top1": 95.0 - degradation,
        "val/top1": val,
        "baseline/top1": 95.0,
        "degradation/top1": degradation,
        "size/float_bytes": 16000.0,
        "size/quantized_bytes": size,
        "compression/ratio": 16000.0 / size,
        "quant/sparsity": 0.25,
    }


def make_grid(runs: Path) -> None:
    """Two thresholds x two learning rates x two seeds, and their baselines."""
    for seed in (0, 1):
        for lr in (0.01, 0.1):
            make_run(runs, quant__name="none", optim__lr=lr, seed=seed)
            for init in (0.05, 0.2):
                found = metrics(10 * init + lr + 0.123456789 * seed, val=90 - 20 * init - lr - seed)
                make_run(runs, found, quant__name="tga", quant__threshold__init=init, optim__lr=lr, seed=seed)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReadPage]:
    """A folder with a grid of runs, and its page."""
    runs = tmp_path_factory.mktemp("grid")
    make_grid(runs)
    return runs, page_of(runs)


def records(runs: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in runs.glob("*/record.json")}


def test_numbers_of_runs_are_those_of_their_records(grid: tuple[Path, ReadPage]) -> None:
    runs, found = grid
    known = records(runs)
    rows = {row["run_id"]: row for row in found.rows("runs")}
    assert rows.keys() == known.keys()
    for run, record in known.items():
        assert rows[run]["metrics"] == record["metrics"]
        same = {name: record[name] for name in ("model", "data", "quant", "seed", "command")}
        assert {name: rows[run][name] for name in same} == same
        assert rows[run]["baseline"] == record["baseline_run_id"]


def test_a_point_has_the_degradation_of_its_record(grid: tuple[Path, ReadPage]) -> None:
    runs, found = grid
    known = records(runs)
    points = found.rows("points")
    assert len(points) == 8
    for point in points:
        assert point["degradation"] == known[point["run"]]["metrics"]["degradation/top1"]


def test_heat_map_has_the_mean_and_the_seeds_of_each_cell(grid: tuple[Path, ReadPage]) -> None:
    cells = {(cell["x"], cell["y"]): cell for cell in grid[1].rows("cells")}
    assert cells.keys() == {("0.01", "0.05"), ("0.1", "0.05"), ("0.01", "0.2"), ("0.1", "0.2")}
    cell = cells["0.1", "0.05"]
    assert cell["mean"] == pytest.approx(0.5 + 0.1 + 0.123456789 / 2)
    assert cell["count"] == "n = 2"
    assert cell["seeds"] == "seed 0: +0.60, seed 1: +0.72"
    spec = grid[1].data["charts"]["heat"]["spec"]
    assert [spec["layer"][0]["encoding"][axis]["title"] for axis in "xy"] == ["optim.lr", "quant.threshold.init"]


def test_headline_is_chosen_by_validation_and_says_so(tmp_path: Path) -> None:
    # The second setting is the better one on the test images, the first on the validation images.
    for seed in (0, 1):
        make_run(tmp_path, metrics(2.0 + seed, val=92.0), quant__name="tga", quant__threshold__init=0.1, seed=seed)
        make_run(tmp_path, metrics(1.0, val=91.0), quant__name="tga", quant__threshold__init=0.2, seed=seed)
    text = page_of(tmp_path).text
    assert "+2.50 points degradation" in text
    # Student's t with one degree of freedom: 12.706 times 0.5
    assert "\N{MINUS SIGN}3.85 to +8.85 points" in text
    assert "validation top-1, among 2 settings" in text
    assert "16.00x smaller" in text


def test_without_validation_the_choice_is_called_optimistic(tmp_path: Path) -> None:
    found = {name: value for name, value in metrics(1.0).items() if name != "val/top1"}
    make_run(tmp_path, found, quant__name="tga")
    text = page_of(tmp_path).text
    assert "test images (optimistic" in text
    assert "none (one seed)" in text


def test_nothing_comes_from_outside(grid: tuple[Path, ReadPage]) -> None:
    found = grid[1]
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form"), tag
        assert not {"src", "href", "srcset", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)


def test_the_policy_allows_the_scripts_of_the_page_alone(grid: tuple[Path, ReadPage]) -> None:
    found = grid[1]
    (policy,) = [tag["content"] for _, tag in found.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    running = [text for attributes, text in found.scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert rules["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)


def test_vega_is_there_once(grid: tuple[Path, ReadPage]) -> None:
    assert sum("vegaEmbed=" in text for _, text in grid[1].scripts) == 1
    assert len(grid[1].scripts) == 3


def test_every_chart_has_a_text(grid: tuple[Path, ReadPage]) -> None:
    charts = [tag for _, tag in grid[1].tags if tag.get("class") == "chart"]
    labels = [str(tag.get("aria-label")) for name, tag in grid[1].tags if name == "figure"]
    assert len(labels) == len(charts) >= 8
    assert all(len(label) > 30 for label in labels)


def test_no_runs(tmp_path: Path) -> None:
    found = page_of(tmp_path)
    assert "There are no runs yet." in found.text
    assert found.rows("runs") == []
    assert found.data["charts"] == {}


def test_one_baseline_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, quant__name="none")
    found = page_of(tmp_path)
    assert "No quantized run is finished yet" in found.text
    assert {row["run"] for row in found.rows("curves")} == {run.run_id}


def test_one_quantized_run(tmp_path: Path) -> None:
    make_run(tmp_path, metrics(1.25), quant__name="twn")
    found = page_of(tmp_path)
    assert "+1.25 points degradation" in found.text
    assert "heat" not in found.data["charts"] and "parallel" not in found.data["charts"]
    assert {row["layer"] for row in found.rows("layers")} == {"conv1", "fc"}


def test_a_run_that_is_going_on_and_one_that_was_killed(tmp_path: Path) -> None:
    going = make_run(tmp_path, None, "running", quant__name="tga", seed=0)
    killed = make_run(tmp_path, None, "running", quant__name="tga", seed=1)
    script = (
        "import sys; from pathlib import Path; from ternlab.core.lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(going.path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        found = page_of(tmp_path)
        process.communicate()
    states = {row["run_id"]: row["state"] for row in found.rows("runs")}
    assert states == {going.run_id: "running", killed.run_id: "stopped"}
    assert "One run is not finished" in found.text
    assert {row["run"] for row in found.rows("curves")} == {going.run_id, killed.run_id}


def test_a_failure_is_shown_with_its_last_words_and_log(tmp_path: Path) -> None:
    error = {"type": "RuntimeError", "message": "out of memory\nthe traceback is elsewhere"}
    failed = make_run(tmp_path, None, "failed", quant__name="tga", record__error=error)
    diverged = make_run(tmp_path, None, "diverged", quant__name="sws", record__error={"message": "loss is nan"})
    text = page_of(tmp_path).text
    assert "2 runs are not finished" in text
    assert "out of memory" in text and "loss is nan" in text
    assert "the traceback is elsewhere" not in text
    assert str(failed.log_file) in text and str(diverged.log_file) in text


def test_names_with_markup_stay_text(tmp_path: Path) -> None:
    record = {"record__command": HOSTILE, "record__model": HOSTILE, "record__quant": HOSTILE}
    make_run(tmp_path, metrics(1.0), quant__name="tga", **record)
    make_run(tmp_path, None, "failed", quant__name="sws", record__error={"message": HOSTILE})
    plain = tmp_path.parent / "plain"
    make_run(plain, metrics(1.0), quant__name="tga")
    make_run(plain, None, "failed", quant__name="sws", record__error={"message": "m"})
    found, other = page_of(tmp_path), page_of(plain)
    shape = [(tag, attributes.get("id")) for tag, attributes in found.tags]
    assert shape == [(tag, attributes.get("id")) for tag, attributes in other.tags]
    shown = HOSTILE.replace("\udc80", "\\udc80")
    known = {row["run_id"]: row for row in found.rows("runs")}
    (row,) = [row for row in known.values() if row["state"] == "finished"]
    assert row["model"].startswith("</script><script>alert(1)</script>")
    assert "ü 漢" in row["command"]
    assert "alert(1)" in found.text
    assert shown[:20] in found.text


def test_json_of_the_page_ends_no_script_and_breaks_no_line(tmp_path: Path) -> None:
    make_run(tmp_path, metrics(1.0), quant__name="tga", record__command=HOSTILE)
    scripts = page_of(tmp_path).scripts
    assert len(scripts) == 3
    for attributes, text in scripts:
        if attributes.get("type") == "application/json":
            assert not re.search("[<>&\u2028\u2029]", text)
        else:
            assert "</script" not in text and "<!--" not in text


def test_a_folder_whose_name_is_no_utf_8_can_be_written(tmp_path: Path) -> None:
    runs = tmp_path / "\udcff"
    run = make_run(runs, None, "failed", quant__name="tga", record__error={"message": "m"})
    found = page_of(runs)
    assert "\\udcff" in found.text
    assert [row["path"] for row in found.rows("runs")] == [str(run.path)]


def test_where_keeps_the_baselines_of_the_runs(grid: tuple[Path, ReadPage]) -> None:
    found = page_of(grid[0], where="quant.threshold.init=0.2 and optim.lr=0.1 and quant=tga")
    kinds = sorted((row["quant"], row["seed"]) for row in found.rows("runs"))
    assert kinds == [("none", 0), ("none", 1), ("tga", 0), ("tga", 1)]
    assert "Filter: quant.threshold.init=0.2" in found.text


def test_a_search_with_many_values_has_parallel_coordinates_and_no_heat_map(tmp_path: Path) -> None:
    for place in range(30):
        changes = {"optim__lr": 0.001 * 1.3**place, "quant__threshold__init": 0.01 * (place + 1)}
        make_run(tmp_path, metrics(place / 10), quant__name="tga", **changes)
    found = page_of(tmp_path)
    assert "heat" not in found.data["charts"]
    at = {row["run"]: row["at"] for row in found.rows("lines") if row["axis"] == "lr"}
    # A factor each: even steps on the axis, which is logarithmic.
    assert sorted(at.values()) == pytest.approx([place / 29 for place in range(30)])


def test_thinned_curves_are_said_to_be(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics(1.0), quant__name="tga")
    lines = [f"{epoch},{epoch},{epoch / 10}" for epoch in range(500)]
    run.metrics_file.write_text("\n".join(["epoch,step,val/top1", *lines]))
    found = page_of(tmp_path)
    epochs = [row["epoch"] for row in found.rows("curves")]
    assert len(epochs) == 120 and (epochs[0], epochs[-1]) == (1, 500)
    assert "thinned out to 120 epochs" in found.text


def test_a_published_number_stands_beside_ours_and_never_among_them(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        changes = {"data__name": "cifar10", "model__name": "resnet20", "seed": seed}
        make_run(tmp_path, metrics(1.0 + seed), quant__name="sws", **changes)
    found = page_of(tmp_path)
    rows = {row["kind"]: row["degradation"] for row in found.rows("published")}
    assert rows == {"published": 0.05, "measured here": 2.0}
    assert [row["mean"] for row in found.rows("groups")] == [2.0]
    assert "WACV 2019" in found.text and "As published, not measured here" in found.text


def test_part_of_the_images_is_not_put_beside_published_numbers(tmp_path: Path) -> None:
    changes = {"data__name": "cifar10", "data__limit_train": 100, "model__name": "resnet20"}
    make_run(tmp_path, metrics(1.0), quant__name="sws", **changes)
    assert "published" not in page_of(tmp_path).data["charts"]
