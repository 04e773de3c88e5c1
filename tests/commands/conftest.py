"""A finished run and its files, made once for the tests of the commands that read them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ternlab.commands.entry import run as run_entry
from ternlab.commands.export import main as export
from ternlab.commands.train import main as train
from ternlab.core.errors import ExitCode
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings
from ternlab.training.train_run import train_run
from tests.commands.run_command import ROOT
from tests.made_once import made_once
from tests.settings_for_tests import tiny_settings

Here = Callable[..., tuple[int, str, str]]
Launch = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished TGA run on the digits, with its baseline beside it; its network tells most of them apart."""
    changes = {"data__limit_train": None, "trainer__max_epochs": 4, "quant__init": "baseline", "quant__update": "joint"}

    def settings_in(project: Path) -> Settings:
        return tiny_settings(project / "logs" / "runs", model__dropout=0.1, **changes)

    def train_in(project: Path) -> None:
        train_run(settings_in(project), "python src/train.py")

    settings = settings_in(made_once(tmp_path_factory, "digits-run", train_in))
    return run_directory(settings.paths.runs, run_id(settings))


@pytest.fixture(scope="session")
def baseline_run(digits_run: RunDirectory) -> RunDirectory:
    """The full-precision twin of `digits_run`."""
    return run_directory(digits_run.path.parent, run_id(twin_of(digits_run.settings())))


@dataclass(frozen=True)
class Files:
    """The same network in every format."""

    packed: Path
    onnx: Path
    int8: Path


@pytest.fixture(scope="session")
def files(digits_run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of `digits_run`, by names that say nothing of what they are."""
    wanted: dict[str, dict[str, Any]] = {
        "packed": {},
        "onnx": {"format": "onnx"},
        "int8": {"format": "onnx", "activations": "int8", "images": 128},
    }

    def export_to(folder: Path) -> None:
        # A copy: an export adds to the record.
        run = shutil.copytree(digits_run.path, folder / digits_run.run_id)
        for name, options in wanted.items():
            assert export({"run": str(run), "out": str(folder / name), **options}) == ExitCode.DONE

    folder = made_once(tmp_path_factory, "digits-files", export_to)
    return Files(*(folder / name for name in wanted))


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """A function that runs a command in this process, through Hydra, as its script does."""

    def run_here(script: str, command: Any, *typed: str, folder: Path | None = None) -> tuple[int, str, str]:
        if folder is not None:
            monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [f"{Path(script).stem}.py", *typed])
        capfd.readouterr()
        code = run_entry(ROOT / "conf" / script, command)
        out, err = capfd.readouterr()
        return code, out, err

    return run_here


@pytest.fixture
def launch(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Launch:
    """A function that runs sweeps/launch.py in this process, for sweeps that start no run."""

    def launch_here(folder: Path, *typed: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["launch.py", *typed])
        # What records and plans say was typed.
        monkeypatch.setattr(sys, "orig_argv", [sys.executable, "sweeps/launch.py", *typed])
        capfd.readouterr()
        try:
            code = run_entry(ROOT / "conf" / "sweep.yaml", train)
        except SystemExit as error:
            # A sweeper ends its process: Hydra drops what it returns.
            code = int(error.code or 0)
        return code, *capfd.readouterr()

    return launch_here
