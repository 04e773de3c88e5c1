"""A run that stops and goes on ends with the bits of one that never stopped."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file

from ternlab.algorithms.registry import inputs_of
from ternlab.core.errors import RunInterrupted
from ternlab.data.loaders import TrainLoader
from ternlab.runs.directory import RunDirectory
from ternlab.runs.directory import run_directory as directory_of
from ternlab.runs.identity import run_id
from ternlab.runs.needs import inputs, needs
from ternlab.runs.pairing import baseline_of
from ternlab.settings.root import Settings
from ternlab.training.callbacks.epoch_metrics import EpochMetrics
from ternlab.training.callbacks.layer_stats import LayerStats
from ternlab.training.fit import Outcome, fit
from ternlab.training.module import Classifier
from ternlab.training.update_rule import TernaryOptimizer
from tests.settings_for_tests import tiny_settings

STEPS = 6
VARIANTS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "joint-adam": {"quant__update": "joint", "optim__name": "adam", "optim__lr": 1e-3},
    "full-precision": {"quant": {"name": "none"}},
    "accumulate": {"quant__update": "joint", "trainer__accumulate_grad_batches": 2},
    "mixed-rules": {
        "quant__layers": [
            {"match": "1", "name": "lsq", "bits": 4},
            {"match": "4", "threshold.lr": 0.01, "threshold.clamp": None},
        ]
    },
    "no-validation": {"data__val_fraction": 0.0},
    "distilled": {"algorithm": {"name": "distillation"}, "objectives": {"dampening": {"weight": 1e-3}}},
}


class StopAfter(Callback):
    """Sends this process a real signal after a batch."""

    def __init__(self, batch: int, number: int) -> None:
        self.batch, self.number, self.seen = batch, number, 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        """Count, and send the signal."""
        self.seen += 1
        if self.seen == self.batch:
            os.kill(os.getpid(), self.number)


def start(settings: Settings, *callbacks: Callback) -> tuple[RunDirectory, Outcome]:
    """Train in this process, without record, and the baseline only where it is the teacher."""
    if inputs_of(settings) and not baseline_of(settings)[1].weights_file.exists():
        start(baseline_of(settings)[0])
    directory = directory_of(settings.paths.runs, run_id(settings))
    directory.create()
    return directory, fit(settings, directory, inputs=inputs(settings, needs(settings)), mirrors=callbacks)


def contents(directory: RunDirectory, outcome: Outcome) -> dict[str, Any]:
    """Return everything that must be equal, floats in full."""
    layers = directory.layers_file
    return {
        "weights": {name: value.clone() for name, value in load_file(directory.weights_file).items()},
        "metrics.csv": directory.metrics_file.read_text(),
        "layers.csv": layers.read_text() if layers.exists() else "",
        "metrics": outcome.metrics,
    }


def assert_equal(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare bit for bit."""
    assert got["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        assert torch.equal(got["weights"][name], value), name
    for name in ("metrics.csv", "layers.csv", "metrics"):
        assert got[name] == expected[name], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_after_any_batch_changes_nothing(variant: str, tmp_path: Path) -> None:
    changes = VARIANTS[variant]
    whole = contents(*start(tiny_settings(tmp_path / "whole", **changes)))
    for batch in range(1, STEPS):
        settings = tiny_settings(tmp_path / f"stopped-{batch}", **changes)
        with pytest.raises(RunInterrupted):
            start(settings, StopAfter(batch, signal.SIGUSR1))
        assert_equal(contents(*start(settings)), whole)


def test_stopping_after_every_batch_in_turn_changes_nothing(tmp_path: Path) -> None:
    whole = contents(*start(tiny_settings(tmp_path / "whole")))
    settings = tiny_settings(tmp_path / "stopped")
    for _ in range(STEPS - 1):
        with pytest.raises(RunInterrupted):
            start(settings, StopAfter(1, signal.SIGTERM))
    assert_equal(contents(*start(settings)), whole)


@pytest.mark.parametrize("batch", range(1, STEPS + 1))
def test_sigterm_amid_accumulated_batches_changes_nothing(batch: int, tmp_path: Path) -> None:
    whole = contents(*start(tiny_settings(tmp_path / "whole", **VARIANTS["accumulate"])))
    settings = tiny_settings(tmp_path / "stopped", **VARIANTS["accumulate"])
    # After the last batch there is nothing left to stop: it ends as ever.
    with pytest.raises(RunInterrupted) if batch < STEPS else contextlib.nullcontext():
        start(settings, StopAfter(batch, signal.SIGTERM))
    assert_equal(contents(*start(settings)), whole)


class StopInTest(Callback):
    """Sends SIGTERM amid the final test."""

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        """Send the signal."""
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_in_the_final_test_lets_it_end(tmp_path: Path) -> None:
    whole = contents(*start(tiny_settings(tmp_path / "whole")))
    assert_equal(contents(*start(tiny_settings(tmp_path / "told"), StopInTest())), whole)


def test_two_trainings_of_the_same_settings_are_equal_and_other_seeds_are_not(tmp_path: Path) -> None:
    first = contents(*start(tiny_settings(tmp_path / "a")))
    assert_equal(contents(*start(tiny_settings(tmp_path / "b"))), first)
    other = contents(*start(tiny_settings(tmp_path / "c", seed=1)))
    assert any(not torch.equal(other["weights"][name], value) for name, value in first["weights"].items())


def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = contents(*start(tiny_settings(tmp_path / "whole")))
    settings = tiny_settings(tmp_path / "torn", checkpoint__every_steps=1)
    with pytest.raises(RunInterrupted):
        start(settings, StopAfter(5, signal.SIGTERM))
    directory = directory_of(settings.paths.runs, run_id(settings))
    newest = sorted(directory.checkpoints.glob("*.ckpt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert_equal(contents(*start(settings)), whole)
    assert f"{newest}: is damaged" in caplog.text


def test_a_checkpoint_of_another_run_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = tiny_settings(tmp_path / "other", seed=5)
    with pytest.raises(RunInterrupted):
        start(other, StopAfter(2, signal.SIGTERM))
    whole = contents(*start(tiny_settings(tmp_path / "whole")))
    settings = tiny_settings(tmp_path / "mixed")
    directory = directory_of(settings.paths.runs, run_id(settings))
    directory.create()
    for path in directory_of(other.paths.runs, run_id(other)).checkpoints.iterdir():
        (directory.checkpoints / path.name).write_bytes(path.read_bytes())
    assert_equal(contents(*start(settings)), whole)
    assert "belongs to run" in caplog.text


def _nothing(*arguments: Any, **options: Any) -> None:
    """Stand in for a method that restores something."""


OMISSIONS: dict[str, tuple[type, str]] = {
    "the seed of dropout": (Classifier, "on_train_batch_start"),
    "the place in the data": (TrainLoader, "start_at"),
    "the sums of the epoch": (EpochMetrics, "on_load_checkpoint"),
    "the codes of the last epoch": (LayerStats, "load_state_dict"),
    "the optimizers' states": (TernaryOptimizer, "load_state_dict"),
}


@pytest.mark.parametrize("omission", OMISSIONS)
def test_leaving_anything_out_of_a_resume_is_noticed(
    omission: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls: without each part, the comparison of the tests above must fail."""
    whole = contents(*start(tiny_settings(tmp_path / "whole")))
    settings = tiny_settings(tmp_path / "stopped")
    with pytest.raises(RunInterrupted):
        start(settings, StopAfter(5, signal.SIGUSR1))
    owner, method = OMISSIONS[omission]
    monkeypatch.setattr(owner, method, _nothing)
    with pytest.raises(AssertionError):
        assert_equal(contents(*start(settings)), whole)
