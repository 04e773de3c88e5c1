"""Which full-precision run is the twin of a quantized one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.metrics.registry import METRICS, MetricEntry
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.pairing import baseline_of, paired_metrics
from ternlab.runs.record import write_record
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


@pytest.mark.parametrize("name", ["paths.runs=/x", "force=true", "plugins=[x]", "ckpt_path=x", "logger.name=wandb"])
def test_overrides_are_of_the_recipe(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"baseline\.overrides = .* is not part of the recipe"):
        baseline_of(quantized(tmp_path, {"name": "resnet20"}, name))


@pytest.mark.parametrize(
    "override",
    [
        "data.resize=20",
        "data.on_error=skip",
        "data.split_seed=1",
        "data.test_part=val",
        "data.channels=3",
        "data.mean=[0.5,0.5,0.5]",
        "data.std=[0.5,0.5,0.5]",
    ],
)
def test_a_twin_is_tested_on_the_same_images(override: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be the baseline of this run: its data"):
        baseline_of(quantized(tmp_path, {"name": "resnet20"}, override, "data.image_size=8"))


def test_a_run_on_other_files_is_no_baseline_and_one_whose_files_moved_is(tmp_path: Path) -> None:
    for name, size in (("first", 1), ("other", 2)):
        for part in ("train", "test"):
            path = tmp_path / name / f"{part}.parquet"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x" * size)

    def settings(root: str, rule: str, run: str | None = None) -> Settings:
        return settings_from_config(
            {
                "data": {"name": "parquet", "root": str(tmp_path / root)},
                "quant": {"name": rule},
                "baseline": {"run": run},
                "paths": {"runs": str(tmp_path / "runs")},
            }
        )

    full = settings("first", "none")
    directory = run_directory(full.paths.runs, run_id(full))
    directory.create()
    directory.write_settings(full)
    write_record(directory.record_file, {"run_id": directory.run_id, "status": "finished", "metrics": {}})
    assert baseline_of(settings("first", "tga", directory.run_id))[1].path == directory.path
    with pytest.raises(SettingsError, match=r"its files in data\.root=.*first differ from those in .*other"):
        baseline_of(settings("other", "tga", directory.run_id))
    (tmp_path / "first").rename(tmp_path / "moved")
    assert baseline_of(settings("moved", "tga", directory.run_id))[1].path == directory.path
    with pytest.raises(SettingsError, match="its files in"):
        baseline_of(settings("other", "tga", directory.run_id))


def test_metrics_are_paired_so_that_positive_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "error", MetricEntry("error", "...", "a:b", better="lower", paired=True))
    monkeypatch.setitem(METRICS, "other", MetricEntry("other", "...", "a:b", better="lower"))
    own = {"test/top1": 90.0, "test/top5": 99.0, "test/error": 3.0, "test/other": 1.0, "test/loss": 0.5}
    full = {"metrics": {"test/top1": 92.0, "test/top5": 98.5, "test/error": 1.0, "test/loss": 0.25, "test/other": 2.0}}
    assert paired_metrics(own, full) == {
        "baseline/top1": 92.0,
        "degradation/top1": 2.0,
        "baseline/top5": 98.5,
        "degradation/top5": -0.5,
        "baseline/error": 1.0,
        "degradation/error": 2.0,
    }
    # The baseline was trained before the metric was registered.
    del full["metrics"]["test/error"]
    assert "degradation/error" not in paired_metrics(own, full)
