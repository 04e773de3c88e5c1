"""The user's own folders and choices: who wins over whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.commands.cli import main
from ternlab.core.errors import SettingsError
from ternlab.core.user_files import config_folders, default_path
from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config
from ternlab.settings.root import PathSettings
from tests.loggers.made import made_run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder, which is still empty."""
    monkeypatch.delenv("TERNLAB_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "ternlab"
    folder.mkdir(parents=True)
    return folder


def places() -> list[str]:
    """Return runs, sweeps and data of settings that name none."""
    paths = settings_from_config({}).paths
    return [paths.runs, paths.sweeps, paths.data]


def test_what_is_typed_wins_over_the_variable_over_the_file_over_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places() == ["logs/runs", "logs/sweeps", "data"]
    (home / "paths.yaml").write_text("runs: /file/runs\ndata: /file/data\n")
    assert places() == ["/file/runs", "/file/sweeps", "/file/data"]
    monkeypatch.setenv("TERNLAB_RUNS", "/variable/runs")
    assert places() == ["/variable/runs", "/variable/sweeps", "/file/data"]
    monkeypatch.setenv("TERNLAB_SWEEPS", "~/sweeps")
    assert places() == ["/variable/runs", str(Path.home() / "sweeps"), "/file/data"]
    assert settings_from_config({"paths": {"runs": "typed"}}).paths.runs == "typed"


def test_where_runs_are_is_not_part_of_their_id(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_id(settings_from_config({}))
    (home / "paths.yaml").write_text("data: /file/data\n")
    monkeypatch.setenv("TERNLAB_RUNS", "/variable/runs")
    assert run_id(settings_from_config({})) == before


def test_listed_folders_replace_that_of_the_user_and_the_first_wins(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "paths.yaml").write_text("runs: /home\n")
    for name, text in (("a", "runs: /a\n"), ("b", "runs: /b\ndata: /b\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "paths.yaml").write_text(text)
    monkeypatch.setenv("TERNLAB_CONFIG", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert config_folders() == [tmp_path / "a", tmp_path / "b"]
    assert [default_path("runs"), default_path("data")] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run: x\n", r"run in .*paths\.yaml.*\n.*runs"),
        ("runs: 1\n", "must be a folder"),
        ("[", "not readable"),
        ("x", "lines"),
    ],
)
def test_a_file_that_is_not_understood_is_named(home: Path, text: str, said: str) -> None:
    (home / "paths.yaml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        PathSettings()
    assert main(["results"]) == 2


def test_a_listed_folder_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERNLAB_CONFIG", "/nowhere")
    with pytest.raises(SettingsError, match="TERNLAB_CONFIG = /nowhere: is not a folder"):
        config_folders()


def test_every_spelling_finds_the_runs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "somewhere" / "runs"
    run = made_run(runs, 1, logger__name="local").run_id
    for words in (["--runs", str(runs)], [f"--runs={runs}"], [f"paths.runs={runs}"]):
        assert main(["results", *words]) == 0
        assert run in capsys.readouterr().out
    monkeypatch.setenv("TERNLAB_RUNS", str(runs))
    for command in (["results"], ["show", run], ["compare", run, run]):
        assert main(command) == 0
        assert run in capsys.readouterr().out
