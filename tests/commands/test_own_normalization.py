"""Normalization and class names of the user's own reach everything that reads images with a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ternlab.commands.export import main as export
from ternlab.commands.predict import main as predict
from ternlab.core.errors import ExitCode
from ternlab.data.digits import load as load_digits
from ternlab.data.settings import DataSettings
from ternlab.export.signature import read_signature
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.settings.root import Settings
from ternlab.trained.evaluate_settings import EvaluateSettings
from ternlab.trained.evaluation import evaluate_run
from ternlab.training.train_run import train_run
from tests.commands.conftest import Here
from tests.commands.predict_helpers import PLUGINS, PREDICT, lines, pictures
from tests.made_once import made_once
from tests.settings_for_tests import tiny_settings

__all__ = ["pictures"]

MEAN, STD = (0.9,), (0.05,)
ONE_IMAGE = 100 / 359 + 1e-6
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run on the digits with a normalization far from that of the data set."""
    own = {"data__mean": list(MEAN), "data__std": list(STD), "data__class_names": list(NAMES)}

    def settings_in(project: Path) -> Settings:
        return tiny_settings(project / "runs", data__limit_train=None, trainer__max_epochs=3, **own)

    def train_in(project: Path) -> None:
        train_run(settings_in(project), "python src/train.py")

    settings = settings_in(made_once(tmp_path_factory, "own-run", train_in))
    return run_directory(settings.paths.runs, run_id(settings))


def test_evaluation_exports_and_predictions_use_the_runs_normalization(
    own_run: RunDirectory, pictures: Path, tmp_path: Path, here: Here
) -> None:
    record = own_run.record() or {}
    top1 = record["metrics"]["test/top1"]
    assert top1 > 50
    assert record["facts"]["preprocessing"]["mean"] == list(MEAN)
    evaluated = evaluate_run(own_run, None, EvaluateSettings(run=own_run.run_id))
    assert evaluated["test/top1"] == pytest.approx(top1, abs=ONE_IMAGE)
    labels = load_digits(DataSettings(), Path()).test.labels.tolist()
    formats: dict[str, dict[str, Any]] = {"packed": {}, "onnx": {"format": "onnx"}}
    for name, options in formats.items():
        file = tmp_path / name
        assert export({"run": str(own_run.path), "out": str(file), **options}) == ExitCode.DONE
        signature = read_signature(file)
        assert (signature.preprocessing.mean, signature.preprocessing.std) == (MEAN, STD)
        assert signature.classes == NAMES
        _, out, err = here(PREDICT, predict, f"model={file}", f"images={pictures}", "json=true", PLUGINS)
        right = [line["class"] == NAMES[label] for line, label in zip(lines(out), labels, strict=True)]
        assert 100 * np.mean(right) == pytest.approx(top1, abs=ONE_IMAGE), err
