"""What real runs write, by the names of the catalog: all of it, and nothing that is not in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ternlab.commands.export import main as export
from ternlab.core.errors import ExitCode
from ternlab.reports.metrics_catalog import EPOCHS, LAYERS, RECORD, metrics_of
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.settings.load import twin_of
from ternlab.training.train_run import train_run
from tests.settings_for_tests import tiny_settings

EXPORTS: tuple[dict[str, Any], ...] = (
    {},
    {"format": "onnx"},
    {"format": "onnx", "activations": "int8", "images": 64},
    {"format": "state_dict"},
)


def trained(runs: Path, quant: dict[str, Any], **changes: Any) -> RunDirectory:
    settings = tiny_settings(runs, quant={"init": "scratch", **quant}, **changes)
    directory, _ = train_run(settings, "python src/train.py")
    return directory


def columns(paths: Iterable[Path]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        with path.open(newline="") as file:
            found |= set(next(csv.reader(file)))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project") / "logs" / "runs"


def test_what_a_training_writes_is_the_catalog(runs: Path) -> None:
    # Between them, the two rules have all columns of layers, and the second training has all terms of the loss.
    directories = [trained(runs, {"name": "tga", "update": "sequential"})]
    terms = {"algorithm": {"name": "distillation"}, "objectives": {"dampening": {"weight": 1e-3}}}
    directories.append(trained(runs, {"name": "ttq"}, **terms))
    directories.append(run_directory(runs, run_id(twin_of(directories[0].settings()))))
    of_training = {name for name in metrics_of(RECORD) if not name.startswith("export/")}
    assert {name for one in directories for name in (one.record() or {})["metrics"]} == of_training
    assert columns(one.metrics_file for one in directories) == set(metrics_of(EPOCHS))
    assert columns(one.layers_file for one in directories if one.layers_file.exists()) == set(metrics_of(LAYERS))


@pytest.mark.slow
def test_what_exports_add_is_the_catalog(tmp_path: Path) -> None:
    directory = trained(tmp_path, {"name": "tga", "update": "sequential"})
    before = set((directory.record() or {})["metrics"])
    for options in EXPORTS:
        assert export({"run": str(directory.path), **options}) == ExitCode.DONE
    added = set((directory.record() or {})["metrics"]) - before
    assert added == {name for name in metrics_of(RECORD) if name.startswith("export/")}


def test_a_residual_expansion_numbers_its_columns(runs: Path) -> None:
    directory = trained(runs, {"name": "sws", "rel": {"factors": [0.05, 0.1]}})
    names = columns([directory.layers_file])
    assert {"scale_2", "threshold_2"} <= names
    assert {re.sub(r"_\d+$", "", name) for name in names} <= set(metrics_of(LAYERS))
