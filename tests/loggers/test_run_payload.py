"""What W&B is told of a run: the run's own files, number for number."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ternlab.loggers.history import history_of, summary_of
from ternlab.loggers.wandb.run_payload import run_payload
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import MetricsTable
from tests.loggers.made import LAYERS, made_run


def test_a_row_has_the_epoch_and_its_layers(tmp_path: Path) -> None:
    directory = made_run(tmp_path, epochs=4)
    history = history_of(directory)
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert [row["step"] for row in history] == [3, 6, 9, 12]
    with directory.layers_file.open(newline="") as file:
        for row in csv.DictReader(file):
            of_epoch = history[int(row["epoch"])]
            for name in ("threshold", "scale", "sparsity"):
                assert of_epoch[f"layers/{row['layer']}/{name}"] == float(row[name])
    assert [history_of(directory, start) for start in range(6)] == [history[start:] for start in range(6)]
    assert "layers/fc/threshold_gradient" not in history[0]  # its cell is empty
    assert not any(name.endswith("/weights") for name in history[0])
    assert len(history[0]) == 5 + 3 * len(LAYERS) + 2


@settings(max_examples=30)
@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_numbers_are_those_of_the_table_bit_for_bit(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        MetricsTable(directory.metrics_file).add(
            *({"epoch": number, "step": number, "train/loss": value} for number, value in enumerate(values))
        )
        found = [row["train/loss"] for row in history_of(directory)]
    assert [value.hex() for value in map(float, found)] == [value.hex() for value in values]


def test_a_run_that_has_not_begun_has_no_history(tmp_path: Path) -> None:
    assert history_of(made_run(tmp_path, epochs=0)) == []


@pytest.mark.parametrize(("rule", "job_type"), [("tga", "quantized"), ("none", "baseline")])
def test_job_type_tags_and_group(tmp_path: Path, rule: str, job_type: str) -> None:
    directory = made_run(tmp_path, quant={"name": rule}, tags=["mine", "digits"])
    content = run_payload(directory.settings(), directory)
    assert content.job_type == job_type
    assert content.tags == ("mine", "digits", rule, "tiny")
    assert content.group == "digits-tiny-none-s0-0123456789"
    assert content.config["optim"]["lr"] == 0.05
    assert content.config["run"] == {
        "started": "2026-01-02T03:04:05+0000",
        "command": "python src/train.py",
        "commit": "0123456789",
    }


def test_the_group_that_is_set_counts(tmp_path: Path) -> None:
    directory = made_run(tmp_path, logger__group="sweep-1")
    assert run_payload(directory.settings(), directory).group == "sweep-1"


def test_what_is_not_a_number_is_left_out_of_the_summary() -> None:
    assert summary_of({"test/top1": 1.5, "test/loss": None}) == {"test/top1": 1.5}


def test_nothing_of_it_imports_torch_or_wandb() -> None:
    modules = ("live_sync", "registry", "wandb.mirror", "wandb.sync", "wandb.sweep_summary", "wandb.dashboard")
    code = (
        "import sys; "
        f"[__import__('ternlab.loggers.' + name) for name in {modules!r}]; import ternlab.commands.wandb;"
        "sys.exit(bool({'torch', 'wandb', 'wandb_workspaces', 'altair'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
