"""A layer that cannot learn is said once in a run: in its log and in its facts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ternlab.quantizers.attach import quantize
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.training.callbacks.layer_stats import LayerStats
from ternlab.training.fit import fit
from tests.settings_for_tests import tiny_settings


def faults_of(tmp_path: Path, caplog: pytest.LogCaptureFixture, **quant: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Train for two epochs; return the facts about layers, and the warnings about them."""
    settings = tiny_settings(tmp_path, **{f"quant__{name}": value for name, value in quant.items()})
    directory = run_directory(settings.paths.runs, run_id(settings))
    directory.create()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        facts = fit(settings, directory).facts
    return facts["layer_faults"], [record.getMessage() for record in caplog.records if "Layer" in record.getMessage()]


def test_layers_of_zeros_are_warnings_and_facts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Every threshold starts beyond all weights of its layer.
    found, warnings = faults_of(tmp_path, caplog, threshold={"init": 5.0, "unit": "sigma"})
    assert len(found) == len(warnings) == 3
    assert len({one["layer"] for one in found}) == 3
    for one, warning in zip(found, warnings, strict=True):
        assert one["epoch"] == 0 and one["step"] == 3 and one["fault"].startswith("its threshold")
        assert warning.startswith(f"Layer {one['layer']} (tga): {one['fault']}")
        assert warning.endswith("instead: a smaller quant.threshold.init or quant.threshold.lr")


def test_a_run_whose_layers_learn_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert faults_of(tmp_path, caplog) == ([], [])


def test_a_resumed_run_does_not_say_it_again() -> None:
    module: Any = nn.Module()
    module.model = nn.Sequential(nn.Linear(4, 3))
    quantize(module.model, "twn")
    nn.init.zeros_(module.model[0].parametrizations.weight.original)
    first = LayerStats(None)
    first._report_faults(module, {"epoch": 0, "step": 3})
    assert [one["layer"] for one in first.faults] == ["0"]
    second = LayerStats(None)
    second.load_state_dict(first.state_dict())
    second._report_faults(module, {"epoch": 1, "step": 6})
    assert second.faults == first.faults
    second.load_state_dict({"codes": {}})
    assert second.faults == [], "a checkpoint of an earlier version"
