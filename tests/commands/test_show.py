"""`ternlab show`: runs that are finished, going on, failed, and damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.commands.cli import main
from ternlab.runs.directory import RunDirectory
from tests.reports.made_runs import make_run


def show(capsys: pytest.CaptureFixture[str], directory: RunDirectory, *options: str) -> str:
    capsys.readouterr()
    assert main(["show", "--runs", str(directory.path.parent), directory.run_id, *options]) == 0
    return capsys.readouterr().out


@pytest.fixture
def finished(tmp_path: Path) -> RunDirectory:
    metrics = {"test/top1": 89.5, "degradation/top1": 0.75, "size/float_bytes": 1077736, "mine/own": 3.0}
    baseline = {"run_id": "b", "path": "/b", "metrics": {"test/top1": 90.25, "size/float_bytes": 1077736}}
    return make_run(tmp_path, metrics, quant__name="tga", optim__lr=0.125, record__baseline=baseline)


def test_a_finished_run(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    out = show(capsys, finished)
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith(f"{finished.run_id}: finished\n")
    assert ["optim.lr", "0.125", "0.02"] in lines and ["quant.name", "tga", "none"] in lines
    assert not any(line[:1] == ["optim.momentum"] for line in lines)
    assert ["test/top1", "89.50", "%", "90.25", "%"] in lines
    assert ["degradation/top1", "+0.75", "points"] in lines
    assert ["size/float_bytes", "1,077,736", "bytes", "1,077,736", "bytes"] in lines
    assert ["mine/own", "3"] in lines
    assert any(line[:2] == ["train/top1", "50.00"] and line[-1] == "80.00" for line in lines)
    assert "  python src/train.py seed=0" in out.splitlines()
    assert f"  python src/train.py --config-path {finished.path} --config-name config" in out.splitlines()
    assert "commit c0ffee" in out and "torch 2.10" in out
    assert "conv1" not in out


def test_layers_of_the_last_epoch(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in show(capsys, finished, "--layers").splitlines()]
    assert ["layer", "weights", "threshold", "scale", "sparsity", "flip_ratio"] in lines
    assert ["conv1", "144", "0.051", "0.21", "0.3", "0.01"] in lines
    assert ["fc", "640", "0.061", "0.31", "0.45", "0.02"] in lines
    assert sum(line[:1] == ["conv1"] for line in lines) == 1


def test_layers_that_could_not_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fault = {"layer": "fc\x1b", "epoch": 1, "step": 64, "fault": "all of its codes are 0"}
    directory = make_run(tmp_path, record__facts={"layer_faults": [fault, "odd"]})
    assert "layer fc\\x1b: all of its codes are 0 (at step 64)" in show(capsys, directory).splitlines()
    assert json.loads(show(capsys, directory, "--json"))["facts"]["layer_faults"][0] == fault


def test_curves(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    out = show(capsys, finished, "--curves")
    assert "train/top1 (percent)" in out and "val/loss (nats)" in out and "epochs 1 to 2" in out
    # The axis of both panels: 50 to 80, and 0.5 to 1.5.
    assert "80.0" in out and "50.0" in out and "1.500" in out and "0.500" in out


def test_an_ascii_terminal_gets_ascii(finished: RunDirectory) -> None:
    command = [sys.executable, "-m", "ternlab", "show", "--curves", "--layers", str(finished.path)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout.isascii() and b"*" in done.stdout


def test_json(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(show(capsys, finished, "--json"))
    assert found["metrics"]["test/top1"] == 89.5
    assert found["differing_settings"]["optim.lr"] == 0.125 and found["settings"]["optim.momentum"] == 0.9
    assert [row["val/top1"] for row in found["epochs_done"]] == [55.0, 75.0]
    assert [row["layer"] for row in found["layers"]] == ["conv1", "fc"]
    assert found["again"][1].endswith("--config-name config")


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", "diverged"])
def test_runs_that_are_not_finished(tmp_path: Path, status: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"type": "OSError", "message": "first line\nsecond \x1b[31mline"} if status == "failed" else None
    directory = make_run(tmp_path, None, status, record__error=error)
    directory.metrics_file.write_text("\n".join(directory.metrics_file.read_text().splitlines()[:2]) + "\n")
    out = show(capsys, directory, "--layers", "--curves")
    # Nobody holds it: it was killed.
    said = "stopped" if status == "running" else status
    assert out.startswith(f"{directory.run_id}: {said}, 1 of 2 epochs\n")
    assert "no quantized layers" in out and "train/top1" in out
    if error:
        assert "OSError: first line\nsecond \\x1b[31mline\n" in out


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    directory = make_run(tmp_path, None, "running")
    command = [sys.executable, "-m", "ternlab", "show", str(directory.path)]
    with directory.lock():
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.startswith(f"{directory.run_id}: running, 2 of 2 epochs\n")


@pytest.mark.parametrize("damage", ["bare", "csv", "bytes", "config", "odd", "old", "nan"])
def test_what_is_there_of_a_damaged_run(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_run(tmp_path, quant__name="tga")
    if damage == "bare":
        for path in (directory.metrics_file, directory.layers_file, directory.config_file):
            path.unlink()
    elif damage == "csv":
        directory.metrics_file.write_text("epoch,val/top1\n0,nan\n1,much\n2,1,2,3\n3\n")
        directory.layers_file.write_text("epoch,layer\n")
    elif damage == "bytes":
        directory.metrics_file.write_bytes(b"\xff\xfe\x00")
        directory.layers_file.write_bytes(b"a,\x00\n")
    elif damage == "nan":
        text = directory.record_file.read_text().replace("60.5", "NaN").replace("90.0", "Infinity")
        directory.record_file.write_text(text)
    elif damage == "config":
        directory.config_file.write_text("[")
    else:
        odd = {"attempts": "x", "git": [], "versions": 3, "error": "text", "metrics": [], "baseline": "b", "host": None}
        record = {"run_id": directory.run_id, "status": "finished", "metrics": {"test/top1": True, "a": None}}
        directory.record_file.write_text(json.dumps({**record, **(odd if damage == "odd" else {})}))
    assert directory.run_id in show(capsys, directory, "--layers", "--curves")
    json.loads(show(capsys, directory, "--json"), parse_constant=pytest.fail)


def test_the_cpu_stands_with_what_is_needed_to_reproduce(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu = {"model": "Some CPU\x1b[31m", "flags": ["avx2", "avx512_bf16"], "limits": {"ATEN_CPU_CAPABILITY": "avx2"}}
    directory = make_run(tmp_path, record__host={"name": "here", "cpu": cpu})
    lines = show(capsys, directory).splitlines()
    (line,) = [line for line in lines[lines.index("to reproduce") :] if "CPU" in line and "Some" in line]
    assert "avx2, avx512_bf16, limited by ATEN_CPU_CAPABILITY=avx2" in line
    assert "\x1b" not in line
    assert json.loads(show(capsys, directory, "--json"))["host"]["cpu"] == cpu


def test_attempts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempts = [
        {"started": "2026-01-01T00:00:00", "status": "interrupted", "seconds": 12.4, "host": "one", "step": 0},
        {"started": "2026-01-02T00:00:00", "status": "finished", "seconds": 3.0, "host": "two", "step": 40, "job": "7"},
    ]
    lines = [line.split() for line in show(capsys, make_run(tmp_path, record__attempts=attempts)).splitlines()]
    assert ["attempt", "finished", "status", "seconds", "host", "step", "job"] in lines
    assert ["2026-01-01T00:00:00", "interrupted", "12", "one", "0"] in lines
    assert ["2026-01-02T00:00:00", "finished", "3", "two", "40", "7"] in lines


def test_no_such_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--runs", str(tmp_path), "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err


def test_a_broken_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_run(tmp_path)
    directory.record_file.write_text("{")
    assert main(["show", "--runs", str(tmp_path), directory.run_id]) == 6
    assert "record.json" in capsys.readouterr().err
