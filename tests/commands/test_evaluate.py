"""Evaluating what was trained gives the numbers that training found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ternlab.commands.evaluate import main as evaluate
from ternlab.core.errors import ExitCode, RunInterrupted, SettingsError
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.lifecycle import complete
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings
from ternlab.training.train_run import train_run
from tests.settings_for_tests import tiny_settings

NAMES = ("loss", "top1", "top5")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished quantized run, with its baseline beside it."""
    settings = tiny_settings(tmp_path_factory.mktemp("runs"))
    directory, _ = train_run(settings, "python src/train.py")
    return directory


def evaluated(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str], *, as_json: bool = True, **wanted: Any
) -> Any:
    """Evaluate as the command does and return what it printed."""
    capsys.readouterr()
    config = {"json": as_json, "paths": {"runs": str(directory.path.parent)}, **wanted}
    assert evaluate(config) == ExitCode.DONE
    out = capsys.readouterr().out
    return json.loads(out) if as_json else out


def metrics_of(directory: RunDirectory, split: str) -> dict[str, float]:
    found = (directory.record() or {})["metrics"]
    return {f"{split}/{name}": found[f"{split}/{name}"] for name in NAMES}


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("quantizer", ["tga", "none"])
def test_the_final_weights_give_the_numbers_of_the_record(
    finished: RunDirectory, split: str, quantizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = run_directory(finished.path.parent, run_id(twin_of(finished.settings())))
    directory = finished if quantizer == "tga" else twin
    found = evaluated(directory, capsys, run=directory.run_id, split=split)
    assert found == {"run_id": directory.run_id, "split": split, **metrics_of(directory, split)}


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_last_checkpoint_gives_the_numbers_of_the_final_weights(
    finished: RunDirectory, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = max(finished.checkpoints.glob("*.ckpt"))
    found = evaluated(finished, capsys, ckpt_path=str(last), split=split)
    assert found == {"run_id": finished.run_id, "split": split, **metrics_of(finished, split)}


def test_an_earlier_checkpoint_gives_the_numbers_of_its_epoch(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    first = min(finished.checkpoints.glob("*.ckpt"))
    found = evaluated(finished, capsys, ckpt_path=str(first), split="val")
    header, row, *_ = (line.split(",") for line in finished.metrics_file.read_text().splitlines())
    of_epoch = dict(zip(header, row, strict=True))
    assert int(of_epoch["step"]) == int(first.stem.removeprefix("step-"))
    for name in NAMES:
        assert found[f"val/{name}"] == float(of_epoch[f"val/{name}"])
    assert found["val/loss"] != metrics_of(finished, "val")["val/loss"]


def test_the_table_names_the_weights_and_every_number(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    out = evaluated(finished, capsys, as_json=False, run=str(finished.path))
    assert str(finished.weights_file) in out
    for name, value in metrics_of(finished, "test").items():
        assert f"{name:12} {value:.4f}" in out


def test_the_size_of_the_batches_changes_nothing_but_rounding(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(finished, capsys, run=finished.run_id, batch_size=17)
    expected = metrics_of(finished, "test")
    assert found["test/top1"] == expected["test/top1"]
    assert found["test/loss"] == pytest.approx(expected["test/loss"], rel=1e-5)


def test_the_images_in_the_record_are_those_that_were_evaluated(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    images = (finished.record() or {})["facts"]["images"]
    for split in ("test", "val"):
        share = evaluated(finished, capsys, run=finished.run_id, split=split)[f"{split}/top1"] / 100
        assert share * images[split] == pytest.approx(round(share * images[split]))


def test_evaluating_leaves_the_folder_as_it_was(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    evaluated(finished, capsys, run=finished.run_id)
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def stopped(settings: Settings, directory: RunDirectory, start: Path | None) -> Any:
    raise RunInterrupted("stopped")


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, quant={"name": "none"})
    with pytest.raises(RunInterrupted):
        complete(settings, "python src/train.py", stopped)
    with pytest.raises(SettingsError, match=r"has no final weights \(its status is interrupted\)") as error:
        evaluate({"run": run_id(settings), "paths": {"runs": str(tmp_path)}})
    assert error.value.exit_code == ExitCode.BAD_SETTINGS
    assert "instead: " in str(error.value)


@pytest.fixture
def copied(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(finished.path, tmp_path / finished.run_id)
    return RunDirectory(tmp_path / finished.run_id)


def refused(directory: RunDirectory, words: str, **wanted: Any) -> None:
    with pytest.raises(SettingsError, match=words) as error:
        evaluate({"paths": {"runs": str(directory.path.parent)}, **wanted})
    assert error.value.exit_code == ExitCode.BAD_SETTINGS


def test_a_damaged_checkpoint_is_refused(copied: RunDirectory) -> None:
    last = max(copied.checkpoints.glob("*.ckpt"))
    contents = bytearray(last.read_bytes())
    contents[len(contents) // 2] ^= 1
    last.write_bytes(contents)
    refused(copied, "is damaged", ckpt_path=str(last))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_weights_that_are_cut_off_are_refused(copied: RunDirectory, share: float) -> None:
    whole = copied.weights_file.read_bytes()
    copied.weights_file.write_bytes(whole[: int(len(whole) * share)])
    refused(copied, "does not hold the weights of this network", run=copied.run_id)


def test_weights_of_another_network_are_refused(copied: RunDirectory) -> None:
    save_file({"w": torch.zeros(1)}, copied.weights_file)
    refused(copied, "does not hold the weights of this network", run=copied.run_id)


def test_a_checkpoint_outside_of_a_run_is_refused(copied: RunDirectory, tmp_path: Path) -> None:
    last = max(copied.checkpoints.glob("*.ckpt"))
    lost = tmp_path / "lost" / "checkpoints" / last.name
    lost.parent.mkdir(parents=True)
    shutil.copy(last, lost)
    refused(copied, "is not in a run directory", ckpt_path=str(lost))


def test_no_validation_images_are_no_numbers(copied: RunDirectory) -> None:
    settings = copied.settings()
    data = settings.data.model_copy(update={"val_fraction": 0.0})
    copied.write_settings(settings.model_copy(update={"data": data}))
    refused(copied, "held out no validation images", run=copied.run_id, split="val")


def test_the_weights_that_are_evaluated_are_those_of_the_file(
    copied: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(copied.weights_file)
    weights["10.bias"] = weights["10.bias"] + torch.linspace(0, 9, 10)
    save_file(weights, copied.weights_file)
    found = evaluated(copied, capsys, run=copied.run_id)
    assert found["test/loss"] != metrics_of(copied, "test")["test/loss"]
