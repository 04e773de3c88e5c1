"""What callbacks promise one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.training import fit as module
from ternlab.training.callbacks.epoch_metrics import EpochMetrics
from ternlab.training.callbacks.layer_stats import LayerStats
from ternlab.training.callbacks.order import in_order
from ternlab.training.callbacks.saving import Saving
from ternlab.training.module import Classifier
from tests.settings_for_tests import tiny_settings


def start(tmp_path: Path, *mirrors: Callback) -> module.Outcome:
    settings = tiny_settings(tmp_path, trainer__max_epochs=1)
    directory = run_directory(settings.paths.runs, run_id(settings))
    directory.create()
    return module.fit(settings, directory, mirrors=mirrors)


class Late(Callback):
    """A callback of a plugin that says nothing of its place."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note who runs when, and what is there already."""
        self.order = [type(one).__name__ for one in trainer.callbacks]  # type: ignore[attr-defined]
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_callbacks_find_the_metrics_and_are_saved_afterwards(tmp_path: Path) -> None:
    late = Late()
    start(tmp_path, late)
    assert late.order == ["EpochMetrics", "LayerStats", "Late", "Lines", "Saving"]
    assert {"train/loss", "val/top1", "quant/sparsity", "quant/flip_ratio"} <= late.metrics.keys()


def test_the_order_is_that_of_the_stages_however_they_are_listed(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    saving = Saving(run_directory(str(tmp_path), "run"), settings, None)  # type: ignore[arg-type]
    first, late, second = LayerStats(None), Late(), EpochMetrics(None)
    assert in_order([saving, late, first, second]) == [first, second, late, saving]


def test_a_callback_behind_the_saving_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "in_order", lambda callbacks: [*in_order(callbacks), Late()])
    with pytest.raises(RuntimeError, match="but Late runs after it"):
        start(tmp_path)


def test_a_metric_that_is_not_declared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Classifier.step_result

    def with_another(self: Classifier, *arguments: Any) -> dict[str, Any]:
        found = result(self, *arguments)
        return {**found, "means": {"my/metric": found["mean_loss"]}}

    monkeypatch.setattr(Classifier, "step_result", with_another)
    with pytest.raises(ValueError, match="my/metric"):
        start(tmp_path)
