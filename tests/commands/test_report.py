"""`python src/report.py`: what it writes, what it says, what it refuses."""

from __future__ import annotations

import builtins
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.commands.report import main as report
from ternlab.core.errors import ExitCode
from ternlab.reports.load_runs import gather
from ternlab.reports.page.histograms import histogram_rows
from ternlab.runs.directory import RunDirectory
from ternlab.sweeps.plan import write_plan
from tests.commands.conftest import Here
from tests.commands.run_command import run
from tests.reports.made_runs import make_run
from tests.reports.reading_page import ReadPage
from tests.sweeps.made import plan_of, write_status

FOUND = {"degradation/top1": 1.5, "val/top1": 90.0, "size/float_bytes": 1600.0, "size/quantized_bytes": 100.0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two finished runs where the default looks for them."""
    for seed in (0, 1):
        make_run(tmp_path / "logs" / "runs", FOUND, quant__name="tga", seed=seed)
    return tmp_path


def test_it_writes_one_file_and_says_where(project: Path, here: Here) -> None:
    code, out, err = here("report.yaml", report, folder=project)
    assert (code, err) == (ExitCode.DONE, "")
    assert out.startswith("report.html (") and "2 runs" in out
    assert [path.name for path in project.iterdir() if path.name != "logs"] == ["report.html"]
    assert "+1.50 points degradation" in ReadPage((project / "report.html").read_text()).text


def test_the_script_does_the_same(project: Path) -> None:
    code, out, err = run(project, "out=page.html", script="report.py")
    assert code == ExitCode.DONE, err
    assert out.startswith("page.html (")


def test_figures(project: Path, here: Here) -> None:
    code, out, _ = here("report.yaml", report, "figures=pictures", "weights=0", "curves=1", folder=project)
    assert code == ExitCode.DONE
    assert "pictures (" in out
    assert {"settings.svg", "settings.png", "size.svg", "size.png"} <= {
        path.name for path in (project / "pictures").iterdir()
    }


def test_a_sweep_alone(tmp_path: Path, here: Here) -> None:
    runs = tmp_path / "runs"
    plan = plan_of(runs, "optim.lr=0.1,0.2", "seed=0,1")
    for trial in plan.trials:
        write_status(runs, trial.run_id, "finished", seed=trial.point["seed"], quant="tga", metrics=FOUND)
    make_run(runs, FOUND, quant__name="sws")
    folder = tmp_path / "logs" / "sweeps" / plan.sweep_id
    folder.mkdir(parents=True)
    write_plan(plan, folder)
    code, _, err = here("report.yaml", report, f"sweep={plan.sweep_id[:9]}", folder=tmp_path)
    assert code == ExitCode.DONE, err
    found = ReadPage((tmp_path / "report.html").read_text())
    assert f"Results of sweep {plan.sweep_id}" in found.text
    ids = {row["run_id"] for row in found.rows("runs")}
    assert ids == {*plan.baselines, *(trial.run_id for trial in plan.trials)}
    assert [row["words"] for row in found.rows("groups")] == ["optim.lr=0.1", "optim.lr=0.2"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("swep=x", "did you mean sweep"),
        ("sweep=nothing", "there is no such sweep in logs/sweeps"),
        ("paths.runs=nowhere", "paths.runs = nowhere: cannot be read"),
        ("out=nowhere/page.html", "mkdir -p nowhere"),
        ("out=logs", "out=logs/report.html"),
        ("curves=-1", "curves = -1"),
        ("curves=many", "curves = many"),
        ("where='qant=tga'", "did you mean quant"),
        ("where='quant tga'", "where"),
        ("figures=report.yaml", "figures = report.yaml: is a file"),
    ],
)
def test_wrong_settings(project: Path, here: Here, typed: str, said: str) -> None:
    (project / "report.yaml").touch()
    code, _, err = here("report.yaml", report, typed, folder=project)
    assert code == ExitCode.BAD_SETTINGS
    assert said in err and "Traceback" not in err
    assert not (project / "report.html").exists()


def test_without_the_extra(project: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name in ("altair", "vl_convert") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    code, _, err = here("report.yaml", report, folder=project)
    assert code == ExitCode.BAD_SETTINGS
    assert "needs altair and vl_convert" in err and "pip install 'ternlab[report]'" in err


def test_torch_is_not_imported(project: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__
    asked: list[str] = []

    def noting(name: str, *more: Any) -> Any:
        asked.append(name.partition(".")[0])
        return imported(name, *more)

    for name in [name for name in sys.modules if name.startswith("ternlab.reports")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", noting)
    code, _, _ = here("report.yaml", report, folder=project)
    assert code == ExitCode.DONE
    assert "altair" in asked
    assert not {"torch", "pytorch_lightning", "wandb"} & set(asked)


def test_zeros_of_a_trained_network_lie_between_the_thresholds(digits_run: RunDirectory) -> None:
    (run,) = [run for run in gather(digits_run.path.parent).runs if run.quantized]
    rows = histogram_rows(run)
    layers = {row["layer"] for row in rows}
    assert layers
    for layer in layers:
        own = [row for row in rows if row["layer"] == layer]
        inside = sum(row["count"] for row in own if row["code"] == 0) / sum(row["count"] for row in own)
        assert inside == pytest.approx(own[0]["zeros"], abs=0.005)
