"""Runs that an earlier ternlab left are shown, reported, evaluated, exported and resumed; see `tests/earlier_runs`."""

from __future__ import annotations

import json
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor

import ternlab
from ternlab.commands.cli import main as ternlab_command
from ternlab.commands.evaluate import main as evaluate
from ternlab.commands.export import main as export
from ternlab.commands.report import main as report
from ternlab.commands.summarize import main as summarize
from ternlab.commands.train import main as train
from ternlab.core.errors import ExitCode
from ternlab.data.module import build_data
from ternlab.runs.directory import RunDirectory
from ternlab.runs.identity import run_id
from ternlab.runs.metrics import read_table
from ternlab.runs.record import Record
from ternlab.settings.load import twin_of
from tests.commands.conftest import Here
from tests.commands.run_command import ROOT, run
from tests.training.test_resume import start

RESNET = "digits-resnet20-tga-s0-70c9cb7800"
TINY = "digits-tiny-tga-s0-30e820e3f2"
STOPPED = "digits-tiny-tga-s1-ea127c32a7"
BASELINES = {
    RESNET: "digits-resnet20-none-s0-ff6f614e4e",
    TINY: "digits-tiny-none-s0-af70053735",
    STOPPED: "digits-tiny-none-s1-ad513f1ddd",
}
# Other processors round otherwise: of 359 test images, one may fall on the other side.
ONE_IMAGE = 100 / 359 + 1e-6


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's content, which no test changes."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ROOT / "tests" / "earlier_runs" / "runs.tar.xz") as archive:
        # Python 3.11.0 to 3.11.3 have no filters.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder


@pytest.fixture
def project(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project with the earlier runs, as the working directory."""
    folder = shutil.copytree(unpacked / "project", tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def run_of(project: Path, name: str) -> RunDirectory:
    return RunDirectory(project / "logs" / "runs" / name)


def record_of(directory: RunDirectory) -> Record:
    record = directory.record()
    assert record is not None
    return record


def typed_words(directory: RunDirectory) -> list[str]:
    """Return what was typed after `python src/train.py`, by the record."""
    python, script, *words = shlex.split(record_of(directory)["command"])
    assert (python, script) == ("python", "src/train.py")
    return words


@pytest.mark.parametrize("name", BASELINES)
def test_settings_ids_and_pairs_are_found_again(project: Path, name: str) -> None:
    settings = run_of(project, name).settings()
    assert run_id(settings) == name
    assert run_id(twin_of(settings)) == BASELINES[name] == record_of(run_of(project, name))["baseline_run_id"]
    assert run_id(run_of(project, BASELINES[name]).settings()) == BASELINES[name]


@pytest.mark.parametrize("name", [RESNET, TINY])
def test_the_command_of_a_finished_run_prints_its_table_and_trains_nothing(
    project: Path, name: str, here: Here
) -> None:
    before = run_of(project, name).record_file.read_bytes()
    code, out, err = here("train.yaml", train, *typed_words(run_of(project, name)))
    assert code == ExitCode.DONE
    assert "already finished" in err and "degradation, top-1" in out
    assert run_of(project, name).record_file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "status"), [(RESNET, "finished"), (TINY, "finished"), (STOPPED, "interrupted, 2 of 4 epochs")]
)
def test_they_are_shown(project: Path, name: str, status: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ternlab_command(["show", name, "--curves", "--layers"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: {status}\n")
    lines = [line.split() for line in out.splitlines()]
    assert ["quant.name", "tga", "none"] in lines
    assert any(line[:1] == ["val/top1"] for line in lines)
    assert f"  {record_of(run_of(project, name))['command']}" in out.splitlines()
    assert any(line[0] == ("conv1" if name == RESNET else "1") for line in lines if line)
    assert ternlab_command(["show", name, "--json"]) == ExitCode.DONE
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["metrics"] == record_of(run_of(project, name))["metrics"]


def test_they_stand_in_the_table_of_results(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ternlab_command(["results", "--format", "json", "--where", "status=finished"]) == ExitCode.DONE
    rows = {row["run_id"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {RESNET, TINY, *BASELINES.values()}
    for name in (RESNET, TINY):
        metrics = record_of(run_of(project, name))["metrics"]
        assert rows[name]["test/top1"] == metrics["test/top1"]
        assert rows[name]["degradation/top1"] == metrics["degradation/top1"]


def test_they_are_reported(project: Path, here: Here) -> None:
    code, out, err = here("report.yaml", report)
    assert (code, err) == (ExitCode.DONE, "")
    assert "6 runs" in out
    page = (project / "report.html").read_text()
    assert RESNET in page and TINY in page


@pytest.mark.parametrize("name", [RESNET, TINY])
@pytest.mark.parametrize("split", ["test", "val"])
def test_their_weights_still_give_their_numbers(project: Path, name: str, split: str, here: Here) -> None:
    code, out, err = here("evaluate.yaml", evaluate, f"run={name}", f"split={split}", "json=true")
    assert code == ExitCode.DONE, err
    found, expected = json.loads(out), record_of(run_of(project, name))["metrics"]
    assert found[f"{split}/loss"] == pytest.approx(expected[f"{split}/loss"], rel=1e-3)
    for metric in ("top1", "top5"):
        assert found[f"{split}/{metric}"] == pytest.approx(expected[f"{split}/{metric}"], abs=3 * ONE_IMAGE)


@pytest.mark.parametrize("name", [RESNET, TINY])
def test_they_are_exported(project: Path, name: str, here: Here) -> None:
    code, _, err = here("export.yaml", export, f"run={name}", "out=net.tern")
    assert code == ExitCode.DONE, err
    directory = run_of(project, name)
    expected = record_of(directory)["metrics"]
    assert record_of(directory)["exports"]
    summary = json.loads(here("summarize.yaml", summarize, f"run={name}", "json=true")[1])
    assert summary["sparsity"] * 100 == pytest.approx(expected["quant/sparsity"] * 100, abs=0.1)
    assert summary["float_bytes"] == expected["size/float_bytes"]
    network = ternlab.load(project / "net.tern").eval()
    data = build_data(directory.settings().data, data_dir=Path(), seed=0)
    data.setup()
    right = total = 0
    with torch.inference_mode():
        for images, labels in data.test_dataloader():
            right += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    assert 100 * right / total == pytest.approx(expected["test/top1"], abs=ONE_IMAGE)


@pytest.fixture(scope="module")
def resumed(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    """The stopped run, resumed by its command in two copies of the project."""
    found = []
    for _ in range(2):
        folder = shutil.copytree(unpacked / "project", tmp_path_factory.mktemp("resumed") / "project")
        directory = run_of(folder, STOPPED)
        code, _, err = run(folder, *typed_words(directory))
        assert code == ExitCode.DONE, err
        assert "resuming from step 8" in err
        found.append(directory)
    return found


def weights(directory: RunDirectory) -> dict[str, Tensor]:
    return load_file(directory.weights_file)


def test_a_stopped_run_is_resumed_to_the_same_bits_each_time(resumed: list[RunDirectory]) -> None:
    one, other = resumed
    assert weights(one).keys() == weights(other).keys()
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    for file in ("metrics.csv", "layers.csv"):
        assert (one.path / file).read_bytes() == (other.path / file).read_bytes()


def test_a_stopped_run_ends_as_the_one_that_never_stopped(resumed: list[RunDirectory], unpacked: Path) -> None:
    """Within what another processor's rounding can do: the first eight steps are of the machine that began."""
    record, whole = record_of(resumed[0]), json.loads((unpacked / "uninterrupted" / "record.json").read_text())
    assert record["status"] == "finished"
    assert [one["status"] for one in record["attempts"]] == ["interrupted", "finished"]
    assert [one["step"] for one in record["attempts"]] == [0, 8]
    assert record["facts"]["steps"] == whole["facts"]["steps"] == 12
    assert record["metrics"].keys() >= whole["metrics"].keys()
    assert record["metrics"]["test/loss"] == pytest.approx(whole["metrics"]["test/loss"], rel=1e-2)
    assert record["metrics"]["test/top1"] == pytest.approx(whole["metrics"]["test/top1"], abs=5 * ONE_IMAGE)
    expected = load_file(unpacked / "uninterrupted" / "model.safetensors")
    assert weights(resumed[0]).keys() == expected.keys()
    for name, value in weights(resumed[0]).items():
        torch.testing.assert_close(value, expected[name], rtol=0.02, atol=5e-3, msg=name)
    # Rows from before the stop are kept, and one for each epoch is there.
    rows = [read_table(path) for path in (resumed[0].metrics_file, unpacked / "uninterrupted" / "metrics.csv")]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    assert rows[0][:2] == rows[1][:2]


@pytest.mark.slow
def test_on_a_machine_with_the_same_arithmetic_the_bits_are_those_of_a_run_that_never_stopped(
    resumed: list[RunDirectory], unpacked: Path, tmp_path: Path
) -> None:
    code, _, err = run(tmp_path, *typed_words(run_of(unpacked / "project", STOPPED)))
    assert code == ExitCode.DONE, err
    fresh = weights(run_of(tmp_path, STOPPED))
    earlier = load_file(unpacked / "uninterrupted" / "model.safetensors")
    same_arithmetic = all(torch.equal(fresh[name], value) for name, value in earlier.items())
    same_bits = all(torch.equal(weights(resumed[0])[name], value) for name, value in earlier.items())
    assert same_bits or not same_arithmetic


class Loaded(Callback):
    """Remembers the state with which training goes on."""

    def __init__(self) -> None:
        self.network: dict[str, Tensor] = {}
        self.optimizers: list[dict[str, Any]] = []
        self.step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy what was loaded, before the first step."""
        self.network = {name: value.clone() for name, value in pl_module.state_dict().items()}
        self.optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        self.optimizers = [_copied(state) for state in self.optimizers]
        self.step = trainer.global_step


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value.clone() if isinstance(value, Tensor) else value


def assert_same(got: Any, expected: Any, where: str) -> None:
    """Compare nested state bit for bit."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(got[key], value, f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(got[index], value, f"{where}.{index}")
    elif isinstance(expected, Tensor):
        assert torch.equal(got, expected), where
    else:
        assert got == expected, where


def test_what_is_loaded_is_the_checkpoint_bit_for_bit(project: Path) -> None:
    directory = run_of(project, STOPPED)
    path = directory.checkpoints / "step-000000008.ckpt"
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    loaded = Loaded()
    start(directory.settings(), loaded)
    assert loaded.step == checkpoint["global_step"] == 8
    assert_same(loaded.network, checkpoint["state_dict"], "network")
    assert_same(loaded.optimizers, checkpoint["optimizer_states"], "optimizers")
