"""Which full-precision run is the twin of a quantized one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ternlab.errors import SettingsError
from ternlab.runs.pairing import baseline_of
from ternlab.settings.load import settings_from_config
from ternlab.settings.root import Settings


def quantized(runs: Path, model: dict[str, Any], *overrides: str) -> Settings:
    return settings_from_config(
        {
            "model": model,
            "quant": {"name": "tga"},
            "baseline": {"overrides": list(overrides)},
            "paths": {"runs": str(runs)},
        }
    )


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ({"name": "resnet20"}, "model.width=0.5", "its model.width is 0.5, not 1.0"),
        ({"name": "resnet20", "width": 2}, "model.width=1", "its model.width is 1.0, not 2.0"),
        ({"name": "resnet18"}, "model.stem=imagenet", "its model.stem is imagenet, not auto"),
        ({"name": "resnet20", "width": 2}, "model.name=resnet32", "its model.name is resnet32, not resnet20"),
    ],
)
def test_a_twin_is_the_same_network(model: dict[str, Any], override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"cannot be the baseline of this run: {message}"):
        baseline_of(quantized(tmp_path, model, override))


def test_a_twin_has_the_networks_options_and_may_be_trained_differently(tmp_path: Path) -> None:
    twin, _ = baseline_of(quantized(tmp_path, {"name": "resnet20", "width": 0.5}))
    assert twin.model.options() == {"width": 0.5}
    twin, _ = baseline_of(quantized(tmp_path, {"name": "alexnet"}, "model.dropout=0.5"))
    assert twin.model.options() == {"dropout": 0.5}
