"""Distilled trainings: what the teacher does to a run, and what it must not do."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.objectives.distillation import Teacher
from ternlab.runs.directory import RunDirectory
from ternlab.runs.pairing import baseline_of
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings
from ternlab.training.network import save_weights
from ternlab.training.train_run import train_run
from tests.commands.run_command import ROOT, TINY, run
from tests.settings_for_tests import tiny_settings

DISTILLED = {"name": "distillation"}


def trained(settings: Settings) -> RunDirectory:
    directory, _ = train_run(settings, "python src/train.py")
    return directory


def epochs(directory: RunDirectory) -> list[dict[str, float]]:
    with directory.metrics_file.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def checkpoint(directory: RunDirectory) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(max(directory.checkpoints.glob("*.ckpt")), weights_only=True)
    return found


def saved(network: nn.Module, path: Path) -> Path:
    save_weights(network, path)
    return path


def network(name: str, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name=name), channels=1, size=8, classes=classes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def plain(runs: Path) -> RunDirectory:
    return trained(tiny_settings(runs))


@pytest.fixture(scope="module")
def distilled(runs: Path, plain: RunDirectory) -> RunDirectory:
    return trained(tiny_settings(runs, algorithm=DISTILLED))


def test_a_distilled_run_shares_its_baseline_and_names_its_teacher(
    plain: RunDirectory, distilled: RunDirectory
) -> None:
    record, of_plain = distilled.record() or {}, plain.record() or {}
    assert record["baseline_run_id"] == of_plain["baseline_run_id"]
    _, baseline = baseline_of(distilled.settings())
    digest = hashlib.sha256(baseline.weights_file.read_bytes()).hexdigest()
    assert record["facts"]["inputs"] == {"teacher": {"run_id": baseline.run_id, "sha256": digest}}
    assert "inputs" not in of_plain["facts"]
    assert "degradation/top1" in record["metrics"]


def test_the_loss_is_the_sum_of_its_terms(plain: RunDirectory, distilled: RunDirectory) -> None:
    for row in epochs(distilled):
        assert row["train/loss"] == pytest.approx(0.5 * row["loss/cross_entropy"] + 0.5 * row["loss/distillation"])
        assert row["loss/distillation"] > 0
    assert not any(name.startswith("loss/") for row in epochs(plain) for name in row)
    # The teacher has changed what was trained.
    ours, theirs = load_file(distilled.weights_file), load_file(plain.weights_file)
    assert any(not torch.equal(ours[name], value) for name, value in theirs.items())


def test_the_teacher_is_in_no_checkpoint_and_no_optimizer(plain: RunDirectory, distilled: RunDirectory) -> None:
    ours, theirs = checkpoint(distilled), checkpoint(plain)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for part in ("weights", "thresholds"):
        one, other = (found["optimizer_states"][0][part]["param_groups"] for found in (ours, theirs))
        assert [group["params"] for group in one] == [group["params"] for group in other]


def test_a_weight_of_0_is_supervised_bit_for_bit(runs: Path, plain: RunDirectory) -> None:
    none = trained(tiny_settings(runs, algorithm={**DISTILLED, "weight": 0.0}))
    assert none.run_id != plain.run_id
    assert none.weights_file.read_bytes() == plain.weights_file.read_bytes()
    assert none.metrics_file.read_text() == plain.metrics_file.read_text()
    assert none.layers_file.read_text() == plain.layers_file.read_text()


def test_a_weight_of_1_learns_from_the_teacher_alone(runs: Path) -> None:
    alone = trained(tiny_settings(runs, algorithm={**DISTILLED, "weight": 1.0, "loss": "mse"}))
    (first, last) = epochs(alone)
    assert "loss/cross_entropy" not in first
    assert last["train/loss"] < first["train/loss"]


def test_the_teacher_sees_the_images_that_the_network_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    seen: list[Tensor] = []
    modes: set[bool] = set()
    call = Teacher.__call__

    def watched(self: Teacher, images: Tensor) -> Tensor:
        asked.append(images.clone())
        modes.update(module.training for module in self.network.modules())
        return call(self, images)

    monkeypatch.setattr(Teacher, "__call__", watched)
    settings = tiny_settings(tmp_path, algorithm=DISTILLED, quant__update="joint")
    trained(twin_of(settings))
    from ternlab.training.module import Classifier

    step = Classifier.training_step

    def stepping(self: Classifier, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        seen.append(batch[0].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", stepping)
    trained(settings)
    assert len(asked) == len(seen) == 6
    assert all(torch.equal(one, other) for one, other in zip(asked, seen, strict=True))
    # Augmented: the second epoch has other images than the first.
    assert not torch.equal(torch.cat(seen[:3]).sum(0), torch.cat(seen[3:]).sum(0))
    assert modes == {False}


@pytest.mark.parametrize("quant", ["tga", "none"])
def test_a_file_can_be_the_teacher(quant: str, tmp_path: Path) -> None:
    file = saved(network("resnet20"), tmp_path / "teacher.safetensors")
    changes = {"quant": {"name": quant, "init": "scratch"}} if quant != "none" else {"quant": {"name": "none"}}
    algorithm = {**DISTILLED, "teacher": str(file), "teacher_model": "resnet20"}
    directory = trained(tiny_settings(tmp_path / "runs", algorithm=algorithm, **changes))
    facts = (directory.record() or {})["facts"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert facts["inputs"] == {"teacher": {"file": str(file), "sha256": digest}}


def test_the_baseline_as_a_file_is_the_same_training(runs: Path, distilled: RunDirectory) -> None:
    _, baseline = baseline_of(distilled.settings())
    of_file = trained(tiny_settings(runs, algorithm={**DISTILLED, "teacher": str(baseline.weights_file)}))
    assert of_file.run_id != distilled.run_id
    assert of_file.weights_file.read_bytes() == distilled.weights_file.read_bytes()


@pytest.mark.parametrize(
    ("name", "classes", "words"),
    [("tiny", 7, "given (7, 32), needed (10, 32)"), ("resnet20", 10, "algorithm.teacher_model=NAME")],
)
def test_a_teacher_that_does_not_fit_is_refused_before_the_baseline_is_trained(
    name: str, classes: int, words: str, tmp_path: Path
) -> None:
    import tests.tiny  # noqa: F401 - registers the network

    file = saved(network(name, classes), tmp_path / "teacher.safetensors")
    settings = tiny_settings(tmp_path / "runs", algorithm={**DISTILLED, "teacher": str(file)})
    with pytest.raises(SettingsError) as error:
        train_run(settings, "python src/train.py")
    assert str(error.value).startswith(f"algorithm.teacher = {file}: the weights do not fit the network")
    assert words in str(error.value)
    assert not list((tmp_path / "runs").glob("*/model.safetensors"))


def test_in_bfloat16_the_distance_is_computed_in_float32(tmp_path: Path) -> None:
    directory = trained(tiny_settings(tmp_path, algorithm=DISTILLED, trainer__precision="bf16-mixed"))
    facts = (directory.record() or {})["facts"]
    assert facts["arithmetic"]["precision"] == "bf16-mixed"
    assert all(row["loss/distillation"] > 0 for row in epochs(directory))


@pytest.mark.slow
def test_two_processes_distil_together(tmp_path: Path) -> None:
    places = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    code, _, err = run(
        tmp_path,
        *TINY,
        "quant=tga",
        "quant.update=sequential",
        "algorithm=distillation",
        "trainer.devices=2",
        "checkpoint.every_steps=2",
        PYTHONPATH=places,
    )
    assert code == ExitCode.DONE, err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("logs/runs/*/record.json")]
    (record,) = (one for one in records if one["quant"] != "none")
    assert record["facts"]["world_size"] == 2
    assert record["facts"]["thresholds_agree"]
    assert record["facts"]["inputs"]["teacher"]["run_id"] == record["baseline_run_id"]
    directory = RunDirectory(tmp_path / "logs" / "runs" / record["run_id"])
    for row in epochs(directory):
        assert row["train/loss"] == pytest.approx(0.5 * row["loss/cross_entropy"] + 0.5 * row["loss/distillation"])
