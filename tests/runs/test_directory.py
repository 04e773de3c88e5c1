"""Finding runs, and what lies in their folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.runs.directory import RunDirectory, existing_run, run_directory
from ternlab.runs.record import write_record
from tests.settings_for_tests import tiny_settings

FIRST, SECOND = "digits-resnet20-tga-s0-aaaaaaaaaa", "digits-resnet20-tga-s1-bbbbbbbbbb"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in (FIRST, SECOND):
        made(tmp_path / name)
    # A folder without a record was never started.
    (tmp_path / "digits-resnet20-tga-s2-cccccccccc").mkdir()
    return tmp_path


def made(path: Path) -> RunDirectory:
    directory = RunDirectory(path)
    directory.create()
    write_record(directory.record_file, {"status": "finished"})
    return directory


@pytest.mark.parametrize("name", [FIRST, "digits-resnet20-tga-s0", "aaaaaaaaaa", "a"])
def test_a_run_is_found_by_its_id_or_a_beginning_or_ending_that_only_it_has(runs: Path, name: str) -> None:
    assert existing_run(runs, name) == run_directory(runs, FIRST)


def test_a_run_is_found_by_its_folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert existing_run(tmp_path_factory.mktemp("elsewhere"), str(runs / SECOND)) == run_directory(runs, SECOND)


def test_an_id_that_begins_another_one_is_still_itself(runs: Path) -> None:
    made(runs / f"{FIRST}-2")
    assert existing_run(runs, FIRST).run_id == FIRST


def test_what_fits_several_runs_is_refused_with_their_ids(runs: Path) -> None:
    with pytest.raises(SettingsError, match=f"2 runs match\n  instead: one of: {FIRST}, {SECOND}$") as error:
        existing_run(runs, "digits-", "baseline.run")
    assert str(error.value).startswith("baseline.run = digits-:")
    assert error.value.exit_code == ExitCode.BAD_SETTINGS


def test_an_unknown_run_is_refused_with_near_matches(runs: Path) -> None:
    with pytest.raises(SettingsError, match="no such run") as error:
        existing_run(runs, FIRST.replace("a", "d"))
    assert f"did you mean {FIRST}" in str(error.value)
    with pytest.raises(SettingsError, match="no such run"):
        existing_run(runs, "digits-resnet20-tga-s2-cccccccccc")


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_without_any_runs_the_message_says_so(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="train one first"):
        existing_run(tmp_path / folder, "x")


def test_a_run_moved_aside_does_not_hide_the_one_in_its_place(runs: Path) -> None:
    aside = run_directory(runs, FIRST).move_aside()
    assert aside is not None and aside.name.startswith(f"{FIRST}.aside-")
    assert existing_run(runs, "digits-resnet20-tga-s0").path == aside
    made(runs / FIRST)
    assert existing_run(runs, "digits-resnet20-tga-s0").run_id == FIRST
    assert existing_run(runs, aside.name).path == aside


def test_there_is_nothing_to_move_aside_before_the_first_record(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, FIRST)
    assert directory.move_aside() is None
    directory.create()
    assert directory.move_aside() is None
    assert directory.path.exists()


def test_a_folder_may_be_created_twice(tmp_path: Path) -> None:
    directory = run_directory(tmp_path / "a" / "b", FIRST)
    directory.create()
    directory.create()
    assert [path.name for path in directory.path.iterdir()] == ["checkpoints"]


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=rf"paths\.runs = {re.escape(str(tmp_path))}/file"):
        run_directory(tmp_path / "file", FIRST).create()


def test_settings_come_back(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, optim__lr=0.1 + 0.2, tags=["a"])
    directory = run_directory(tmp_path, FIRST)
    directory.create()
    directory.write_settings(settings)
    assert directory.settings() == settings
    # Who types them again wants to go on.
    directory.write_settings(settings.model_copy(update={"force": True}))
    assert directory.settings() == settings


@pytest.mark.parametrize("contents", [None, b"", b"7", b"[a]", b"{", b"a: [", b"\xff\xfe"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, contents: bytes | None) -> None:
    directory = made(tmp_path / FIRST)
    if contents is not None:
        directory.config_file.write_bytes(contents)
    with pytest.raises(SettingsError, match=r"no readable config\.yaml"):
        directory.settings()
