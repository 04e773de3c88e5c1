"""Bad input: one message that says what, the value, the rule and what to type instead; exit code 2; no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from ternlab.commands.entry import run as run_entry
from ternlab.commands.evaluate import main as evaluate
from ternlab.commands.train import main as train
from ternlab.core.errors import ExitCode
from tests.commands.run_command import ROOT, TINY
from tests.commands.warm_command import run

# What is typed, and the words that the message must hold.
REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "unknown quantizer": (["quant=tgaa"], ["quant = tgaa", "did you mean tga"]),
    "unknown model": (["model=resnet43"], ["model = resnet43", "resnet44"]),
    "unknown data": (["data=cifar"], ["data = cifar", "cifar10"]),
    "unknown experiment": (["experiment=cifar10_resnet20"], ["cifar10_resnet20_tga"]),
    "unknown key": (["optim.lrr=0.1"], ["optim.lrr", "optim.lr"]),
    "unknown nested key": (["quant=tga", "quant.threshold.inti=0.1"], ["quant.threshold.init"]),
    "unknown section": (["optimizer.lr=0.1"], ["optimizer.lr", "optim.lr"]),
    "appended key": (["+optim.lrs=0.1"], ["optim.lrs", "did you mean lr"]),
    "option of another rule": (["+quant.threshold.init=0.1"], ["quant.threshold", "quant=none", "tga"]),
    "lr zero": (["optim.lr=0"], ["optim.lr = 0", "greater than 0", "optim.lr=0.02"]),
    "lr negative": (["optim.lr=-0.1"], ["optim.lr = -0.1", "greater than 0"]),
    "lr nan": (["optim.lr=nan"], ["optim.lr", "finite"]),
    "lr inf": (["optim.lr=inf"], ["optim.lr", "finite"]),
    "lr text": (["optim.lr=fast"], ["optim.lr = fast", "number"]),
    "threshold negative": (["quant=tga", "quant.threshold.init=-0.1"], ["quant.threshold.init = -0.1", "0.05"]),
    "threshold nan": (["quant=tga", "quant.threshold.init=nan"], ["quant.threshold.init", "finite"]),
    "threshold unit": (["quant=tga", "quant.threshold.unit=sigmas"], ["quant.threshold.unit=sigma"]),
    "rule of one's own, not registered": (["quant=tga", "quant.name=mine"], ["quant = mine", "plugins="]),
    "update without thresholds": (["quant=sws", "+quant.update=sequential"], ["quant.update", "sws has no such"]),
    "option of other rules": (
        ["quant=ttq", "quant.granularity=filter"],
        ["quant.granularity", "quant=absmean,bwn,given,lsq", "twn,uniform"],
    ),
    "option that is replaced": (["quant=rel2", "quant.factor=0.1"], ["rel.factors replaces factor"]),
    "no choice of a group": (["data=null"], ["data = null", "name of a choice", "one of: cifar10, "]),
    "several values without -m": (["seed=1,2"], ["seed=1,2", "several values", "instead: -m seed=1,2 (one run"]),
    "a list for a group": (["optim=[1]"], ["optim = [1]", "name of a choice", "one of: adam, "]),
    "a name like that of another group's setting": (["result.runz=x"], ["result.runz", "did you mean baseline.run?"]),
    "a list for a word": (["logger.entity=[a]"], ["logger.entity = ['a']", "logger.entity=null (the default)"]),
    "an element": (["optim.betas=[0.5,2]"], ["optim.betas.1 = 2", "less than 1", "'optim.betas=[0.9,0.999]'"]),
    "neither word nor flag": (["trainer.channels_last=x"], ["channels_last = x: must be 'auto', or", "=auto (the d"]),
    "a value for a group": (["quant=twn", "quant.surrogate=stable"], ["quant.surrogate = stable", "surrogate.kind="]),
    "plugins without brackets": (["plugins=my_rule"], ["plugins = my_rule", "'plugins=[my_rule]'"]),
    "no name=value": (["quant", "twn"], ["is not name=value"]),
    "unquoted list": (["quant=sws", "quant.rel.factors=[0.05, 0.1"], ["is not name=value", "quote"]),
    "bits": (["quant=lsq", "quant.bits=5"], ["quant.bits = 5"]),
    "granularity": (["quant=twn", "quant.granularity=filters"], ["quant.granularity=filter"]),
    "surrogate without bound": (["quant=twn", "quant.surrogate.kind=clipped"], ["surrogate.bound=1.0"]),
    "expansion of more than three levels": (["quant=lsq2", "quant.rel.factors=[1,2]"], ["bits=ternary"]),
    "update": (["quant=tga", "quant.update=sequence"], ["quant.update=sequential"]),
    "epochs negative": (["trainer.max_epochs=-1"], ["trainer.max_epochs = -1"]),
    "epochs fraction": (["trainer.max_epochs=1.5"], ["trainer.max_epochs = 1.5", "integer"]),
    "seed negative": (["seed=-1"], ["seed = -1"]),
    "momentum one": (["optim.momentum=1.0"], ["optim.momentum = 1.0", "less than 1"]),
    "nesterov without momentum": (["optim.momentum=0"], ["nesterov"]),
    "milestones that fall": (
        ["optim.schedule.name=step", "optim.schedule.milestones=[5,3]", "optim.schedule.factors=[0.1]"],
        ["milestones", "increasing"],
    ),
    "factors that do not fit": (
        ["optim.schedule.name=step", "optim.schedule.milestones=[3,5]", "optim.schedule.factors=[0.1,0.1,0.1]"],
        ["factors", "one for each of the 2"],
    ),
    "one checkpoint": (["checkpoint.keep=1"], ["checkpoint.keep = 1", "2"]),
    "sequential with accumulation": (
        ["quant=tga", "quant.update=sequential", "trainer.accumulate_grad_batches=2"],
        ["accumulate_grad_batches = 2", "quant.update=joint"],
    ),
    "batch not divisible": (["trainer.devices=3"], ["data.batch_size", "multiple of 3"]),
    "init file missing": (["quant=tga", "quant.init=file"], ["needs a file", "quant.init_file=PATH"]),
    "init file without init": (["quant=tga", "quant.init_file=a.pt"], ["quant.init_file = a.pt"]),
    "target": (["+model._target_=os.system"], ["_target_", "never run code"]),
    "target in a list": (["tags=[{_target_:os.system}]"], ["_target_", "never run code"]),
    "interpolation": (["optim.lr=${nothing}"], ["nothing"]),
    "missing plugin": (["plugins=[no_such_module]"], ["no_such_module", "cannot be imported"]),
    "data without root": (["data=parquet"], ["data.root"]),
    "missing root": (["data=parquet", "data.root=nowhere"], ["nowhere"]),
    "missing folder": (["data=image_folder", "data.root=nowhere"], ["nowhere"]),
    "no download": (["data=cifar10", "data.download=false"], ["cifar10", "data.root"]),
    "missing weights": (["model.weights=nowhere.pt"], ["model.weights = nowhere.pt"]),
    "no torchvision weights": (["model.weights=torchvision"], ["torchvision", "resnet20"]),
    "missing baseline": (["quant=tga", "baseline.run=nothing"], ["baseline.run", "nothing"]),
    "bad override of the baseline": (["quant=tga", "baseline.overrides=[optim.lr]"], ["name=value"]),
    "tga's option without tga": (["quant.threshold.init=0.1"], ["quant=tga quant.threshold.init"]),
    "option without its group": (["lr=3"], ["optim.lr"]),
    "no gpu": (["trainer=gpu", "trainer.max_epochs=0"], ["trainer.accelerator = gpu", "trainer=cpu"]),
    "missing ckpt": (["ckpt_path=nowhere.ckpt"], ["ckpt_path = nowhere.ckpt"]),
    "pattern without layer": (
        ["quant=tga", "quant.exclude=[layer9.*]", "quant.init=scratch", "trainer.max_epochs=0"],
        ["layer9.*", "matches no layer"],
    ),
}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the training command in this process and return its message; it must be refused."""
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    assert run_entry(ROOT / "conf" / "train.yaml", train) == ExitCode.BAD_SETTINGS
    return capsys.readouterr().err


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_refused_with_words_that_help(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, words = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    message = refused(arguments, capsys, monkeypatch)
    assert "error: " in message
    assert "Traceback" not in message
    for word in words:
        assert word in message, message


def test_a_typo_is_answered_before_torch_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['train.py', 'quant=tga', 'quant.threshold.init=-1'];"
        "from pathlib import Path; from ternlab.commands.entry import run; from ternlab.commands.train import main;"
        f"code = run(Path({str(ROOT / 'conf' / 'train.yaml')!r}), main);"
        "assert 'torch' not in sys.modules and 'wandb' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == ExitCode.BAD_SETTINGS, done.stderr


def test_nothing_is_left_behind_by_a_refused_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(["optim.lr=-1"], capsys, monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file in the place of the folder: root may write anywhere else.
    (tmp_path / "runs").write_text("")
    monkeypatch.chdir(tmp_path)
    message = refused(["paths.runs=runs"], capsys, monkeypatch)
    assert "paths.runs" in message
    assert "cannot be written" in message


def test_a_corrupt_image_is_named_or_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(20):
                Image.new("RGB", (8, 8), (index, 80, 9)).save(folder / f"{index}.png")
    broken = tmp_path / "images" / "train" / "cat" / "7.png"
    broken.write_bytes(broken.read_bytes()[:40])
    monkeypatch.chdir(tmp_path)
    typed = [
        "data=image_folder",
        "data.root=images",
        "data.workers=0",
        *TINY[:2],
        "trainer=cpu",
        "trainer.max_epochs=1",
    ]
    message = refused(typed, capsys, monkeypatch)
    assert str(broken.relative_to(tmp_path)) in message
    monkeypatch.setattr(sys, "argv", ["train.py", *typed, "data.on_error=skip"])
    assert run_entry(ROOT / "conf" / "train.yaml", train) == ExitCode.DONE
    (record,) = (tmp_path / "logs" / "runs").glob("*/model.safetensors")
    assert '"skipped_images": 1' in (record.parent / "record.json").read_text()


def test_a_checkpoint_of_another_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [*TINY, "quant=none", "trainer.max_epochs=1"]
    small = [argument for argument in small if argument != "quant.init=scratch"]
    monkeypatch.setattr(sys, "argv", ["train.py", *small])
    assert run_entry(ROOT / "conf" / "train.yaml", train) == ExitCode.DONE
    (checkpoint,) = (tmp_path / "logs" / "runs").glob("*/checkpoints/*.ckpt")
    message = refused(["model=resnet20", "trainer=cpu", f"ckpt_path={checkpoint}"], capsys, monkeypatch)
    assert "another network" in message
    assert "conv1.weight" in message
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    message = refused(["model=resnet20", "trainer=cpu", "ckpt_path=foreign.ckpt"], capsys, monkeypatch)
    assert "not a checkpoint of a ternlab training" in message
    (tmp_path / "torn.ckpt").write_bytes(checkpoint.read_bytes()[:500])
    message = refused(["model=resnet20", "trainer=cpu", "ckpt_path=torn.ckpt"], capsys, monkeypatch)
    assert "cannot be read" in message


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ([], ["run=ID, or ckpt_path=FILE"]),
        (["run=nothing"], ["nothing", "no such run"]),
        (["run=a", "ckpt_path=b"], ["exactly one of"]),
        (["ckpt_path=nothing.ckpt"], ["nothing.ckpt", "no such file"]),
        (["run=a", "split=tset"], ["split=test"]),
    ],
)
def test_evaluate_refuses(
    typed: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *typed])
    assert run_entry(ROOT / "conf" / "evaluate.yaml", evaluate) == ExitCode.BAD_SETTINGS
    message = capsys.readouterr().err
    for word in words:
        assert word in message, message


def test_the_console_script_answers_help_without_heavy_imports() -> None:
    script = (
        "import sys; from ternlab.commands.cli import main; main([]); print(len(sys.modules), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0
    assert "exit codes" in done.stdout
    assert done.stdout.rstrip().endswith("False")
    assert int(done.stdout.split()[-2]) < 250


def test_a_bad_value_in_a_list_is_told_before_anything_is_written(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "quant=none", "-m", "optim.lr=0.1,-2")
    assert code == ExitCode.BAD_SETTINGS
    assert err.count("must be greater than 0") == 1
    assert "at: optim.lr=-2" in err
    assert not list(tmp_path.iterdir())
