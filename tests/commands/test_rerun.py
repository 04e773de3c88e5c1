"""`ternlab rerun`: the same run with one thing changed, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ternlab.commands.cli import main
from ternlab.runs.directory import RunDirectory
from ternlab.runs.identity import run_id
from tests.commands.run_command import TINY, environment
from tests.commands.warm_command import run
from tests.loggers.made import made_run
from tests.settings_for_tests import tiny_settings


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A finished TGA run."""
    monkeypatch.chdir(tmp_path)
    return made_run(tmp_path / "logs" / "runs", 1, logger__name="local")


def test_everything_but_the_change_is_as_it_was(source: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    runs = source.path.parent
    # Not the default: a run keeps what it was trained with.
    wanted = run_id(tiny_settings(runs, logger__name="local", seed=3, optim__lr=0.04))
    assert main(["rerun", source.run_id, "seed=3", "optim.lr=0.04", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"{source.run_id} -> {wanted}" in out
    changes = [line.split() for line in out.splitlines() if line.startswith(("seed", "optim"))]
    assert changes == [["seed", "0", "3"], ["optim.lr", str(tiny_settings(runs).optim.lr), "0.04"]]
    assert list(runs.iterdir()) == [source.path]


def test_a_group_is_replaced_as_a_whole(source: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(source.config_file.read_text())
    config["quant"]["threshold"]["init"] = 0.2
    source.config_file.write_text(yaml.safe_dump(config))
    assert main(["rerun", source.run_id, "quant.name=sws", "--dry-run"]) == 2
    capsys.readouterr()
    assert main(["rerun", source.run_id, "quant.init=scratch", "quant=sws", "--dry-run"]) == 0
    assert "-sws-" in capsys.readouterr().out.partition(" -> ")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sead=1"], "there is no such setting\n  instead: did you mean seed"),
        (["optim.lr=-1"], "optim.lr"),
        (["seed=0,1"], "several values would be several runs"),
        (["seed=0"], "this is the same run, which has ended"),
        (["trainer.progress=plain"], "add force=true"),
        (["experiment=cifar10_resnet20_tga"], "give the settings one by one"),
        (["quant=sw"], "there is no such choice"),
        (["~seed"], "removes a setting"),
        (["seed"], "is not name=value"),
        (["seed.x=1"], "is not a group of settings"),
    ],
)
def test_what_cannot_be_changed_is_refused(
    source: RunDirectory, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["rerun", source.run_id, *words]) == 2
    assert said in capsys.readouterr().err
    assert list(source.path.parent.iterdir()) == [source.path]


def test_a_dry_run_imports_no_torch(source: RunDirectory) -> None:
    code = (
        "import sys; from ternlab.commands.cli import main; main(['rerun', sys.argv[1], 'seed=1', '--dry-run']);"
        "sys.exit('torch' in sys.modules)"
    )
    # The plugin of the tests builds its network with torch.
    config = yaml.safe_load(source.config_file.read_text())
    config.update(plugins=[], model={"name": "resnet20"})
    source.config_file.write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-c", code, source.path], env=environment({}), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_is_trained_again_as_the_training_command_would(tmp_path: Path) -> None:
    typed = (*TINY, "quant=none", "trainer.max_epochs=1")
    assert run(tmp_path, *typed)[0] == 0
    runs = tmp_path / "logs" / "runs"
    (first,) = runs.iterdir()
    command = [sys.executable, "-m", "ternlab", "rerun", first.name, "seed=1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment({}), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (second,) = set(runs.iterdir()) - {first}
    assert second.name in done.stdout
    again = subprocess.run(command, cwd=tmp_path, env=environment({}), capture_output=True, text=True)
    assert again.returncode == 0
    assert len(list(runs.iterdir())) == 2
    code, out, err = run(tmp_path, *typed, "seed=1")
    assert code == 0, err
    assert "already finished" in err
    assert second.name in out
    assert (RunDirectory(second).record() or {})["command"].endswith("seed=1")
