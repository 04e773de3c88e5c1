"""The ids of runs that people have on their disks are found again by the commands that made them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.commands.entry import run as run_entry
from ternlab.core.errors import ExitCode
from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config
from tests.commands.run_command import ROOT
from tests.runs import golden_ids
from tests.runs.identity_settings import COUNTS

GOLDEN = golden_ids.golden_ids()
WITH_FILES = [
    command for command in GOLDEN if any(name in command for name in ("root=", "=weights.pt", "=start.", "=state."))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name."""
    path = tmp_path_factory.mktemp("golden")
    golden_ids.make_files(path)
    return path


@pytest.mark.parametrize("command", GOLDEN)
def test_a_command_has_the_ids_that_it_always_had(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert golden_ids.ids_of(command) == GOLDEN[command]


@pytest.mark.parametrize("command", ["", "quant=rel4", "experiment=cifar10_resnet20_tga", "optim=adamw quant=tga"])
def test_the_training_command_itself_comes_to_these_ids(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def remember(config: dict[str, Any]) -> ExitCode:
        found.append(run_id(settings_from_config(config)))
        return ExitCode.DONE

    monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(command)])
    assert run_entry(ROOT / "conf" / "train.yaml", remember) == ExitCode.DONE
    assert found == [GOLDEN[command]["run"]]


def test_no_id_depends_on_where_the_files_lie_or_when_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "a folder" / "elsewhere"
    elsewhere.mkdir(parents=True)
    golden_ids.make_files(elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1e9, 1e9))
    monkeypatch.chdir(elsewhere)
    assert len(WITH_FILES) >= 8
    assert {command: golden_ids.ids_of(command) for command in WITH_FILES} == {
        command: GOLDEN[command] for command in WITH_FILES
    }


@pytest.mark.parametrize(
    "group", ["model", "data", "quant", "algorithm", "optim", "trainer", "logger", "experiment", "debug"]
)
def test_every_choice_of_a_group_is_recorded(group: str) -> None:
    choices = {path.stem for path in (ROOT / "conf" / group).glob("[!_]*.yaml")}
    composed_by_default = {"quant": {"none"}, "trainer": {"default"}, "logger": {"local"}}.get(group, set())
    typed = {word.partition("=")[2] for command in GOLDEN for word in command.split() if word.startswith(f"{group}=")}
    assert choices - composed_by_default <= typed


def test_every_setting_that_counts_is_recorded() -> None:
    # A network, a set or a rule of its own is a choice of a group; see above.
    chosen = {"model.name", "data.name", "quant.name", "optim.name"}
    typed = {word.strip("'+").partition("=")[0] for command in GOLDEN for word in command.split()}
    # A loss term is typed below its group.
    typed |= {name.partition(".")[0] for name in typed if name.startswith("objectives.")}
    assert COUNTS.keys() - chosen <= typed


def test_what_is_recorded_is_never_changed() -> None:
    before = golden_ids.FILE.read_bytes()
    with pytest.raises(SystemExit, match="recorded already"):
        golden_ids.record(["quant=tga seed=77", "quant=tga"])
    assert golden_ids.FILE.read_bytes() == before
