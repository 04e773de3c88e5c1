"""The table of all runs: read once, read again where a record changed, and never wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ternlab.core.errors import SettingsError
from ternlab.reports import run_index as module
from ternlab.reports.run_index import read_runs
from ternlab.reports.run_index_file import load_index
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import write_record
from tests.reports.made_runs import make_run

INDEX = ".index-2.arrow"


def silent(message: str) -> None:
    raise AssertionError(f"a warning: {message}")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The records that are read, in order."""
    seen: list[Path] = []
    original = module.read_record

    def counting(path: Path) -> Any:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_record", counting)
    return seen


def change(directory: RunDirectory, **entries: Any) -> None:
    record = directory.record() or {}
    write_record(directory.record_file, {**record, **entries})


def test_a_row_has_what_the_record_has(tmp_path: Path) -> None:
    directory = make_run(tmp_path, {"test/top1": 91.25, "degradation/top1": -0.5}, quant__name="tga", seed=3)
    (row,) = read_runs(tmp_path, warn=silent).to_dicts()
    record = directory.record() or {}
    for name in ("run_id", "status", "data", "model", "quant", "seed", "baseline_run_id", "started", "seconds"):
        assert row[name] == record[name], name
    assert (row["test/top1"], row["degradation/top1"], row["test/top5"]) == (91.25, -0.5, None)
    assert (row["attempts"], row["host"], row["commit"], row["error"]) == (1, "here", "c0ffee" * 6, None)
    assert row["cpu"] is None, "records of older versions have none"
    change(directory, host={"name": "here", "cpu": {"model": "Some CPU", "flags": ["avx2"], "limits": {}}})
    (row,) = read_runs(tmp_path, warn=silent).to_dicts()
    assert row["cpu"] == "Some CPU (avx2)"


def test_only_what_changed_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    first, second = (make_run(tmp_path, seed=seed) for seed in (0, 1))
    read_runs(tmp_path, warn=silent)
    assert len(reads) == 2
    read_runs(tmp_path, warn=silent)
    assert len(reads) == 2
    change(second, seconds=7.0)
    frame = read_runs(tmp_path, warn=silent)
    assert reads[2:] == [second.record_file]
    assert dict(frame.select("run_id", "seconds").iter_rows()) == {first.run_id: 60.5, second.run_id: 7.0}


def test_a_record_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    before = directory.record_file.stat()
    read_runs(tmp_path, warn=silent)
    change(directory, seconds=61.5)
    os.utime(directory.record_file, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert directory.record_file.stat().st_size == before.st_size
    assert read_runs(tmp_path, warn=silent)["seconds"].to_list() == [61.5]


def test_a_removed_run_leaves_the_index(tmp_path: Path) -> None:
    first, second = (make_run(tmp_path, seed=seed) for seed in (0, 1))
    read_runs(tmp_path, warn=silent)
    shutil.rmtree(first.path)
    assert read_runs(tmp_path, warn=silent)["run_id"].to_list() == [second.run_id]
    assert load_index(tmp_path)["run_id"].to_list() == [second.run_id]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty", "old", "folder"])
def test_a_broken_index_is_made_anew(tmp_path: Path, reads: list[Path], damage: str) -> None:
    make_run(tmp_path)
    expected = read_runs(tmp_path, warn=silent)
    path = tmp_path / INDEX
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": data[: len(data) // 2],
                "flipped": data[:-40] + bytes(byte ^ 255 for byte in data[-40:]),
                "foreign": b"PAR1 of somebody else",
                "empty": b"",
                "old": data.replace(b"ternlab index 2", b"ternlab index 1"),
            }[damage]
        )
    assert read_runs(tmp_path, warn=silent).equals(expected)
    assert len(reads) == 2
    if damage != "folder":
        assert path.read_bytes() == data


def test_no_damaged_byte_of_an_index_is_believed(tmp_path: Path) -> None:
    make_run(tmp_path)
    expected = read_runs(tmp_path, warn=silent)
    path = tmp_path / INDEX
    data = path.read_bytes()
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        assert read_runs(tmp_path, warn=silent).equals(expected), place


def test_an_index_of_other_columns_is_not_used(tmp_path: Path) -> None:
    make_run(tmp_path)
    expected = read_runs(tmp_path, warn=silent)
    module.save_index(tmp_path, load_index(tmp_path).with_columns(pl.col("seed").cast(pl.String)))
    assert read_runs(tmp_path, warn=silent).equals(expected)


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    make_run(tmp_path)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    tmp_path.chmod(0o555)
    # As somebody else: root may write everywhere.
    script = (
        "import os, sys; from pathlib import Path; from ternlab.reports.run_index import read_runs\n"
        "os.getuid() or os.setuid(65534)\n"
        "print(len(read_runs(Path('.'))), Path('.index-2.arrow').exists())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    tmp_path.chmod(0o755)
    assert (done.stdout.split(), done.stderr) == (["1", "False"], "")


def test_broken_records_are_named_once_and_left_out(tmp_path: Path) -> None:
    good = make_run(tmp_path, seed=1)
    for name, text in (("cut", '{"run_id"'), ("list", "[]"), ("later", '{"record_version": 99}'), ("deep", "[" * 9**5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text)
    (tmp_path / "bytes").mkdir()
    (tmp_path / "bytes" / "record.json").write_bytes(b"\xff\xfe{}")
    said: list[str] = []
    assert read_runs(tmp_path, warn=said.append)["run_id"].to_list() == [good.run_id]
    for name in ("cut", "list", "later", "deep", "bytes"):
        assert sum(f"/{name}" in line for line in said) == 1, name
    assert len(said) == 5


def test_what_is_aside_or_hidden_is_left_out(tmp_path: Path) -> None:
    moved = make_run(tmp_path)
    moved.move_aside()
    kept = make_run(tmp_path)
    shutil.copytree(kept.path, tmp_path / ".hidden")
    (tmp_path / "notes.txt").write_text("not a run")
    (tmp_path / "empty").mkdir()
    assert read_runs(tmp_path, warn=silent)["run_id"].to_list() == [kept.run_id]


def test_running_without_a_process_is_stopped(tmp_path: Path) -> None:
    held, killed = (make_run(tmp_path, None, "running", seed=seed) for seed in (0, 1))
    finished = make_run(tmp_path, seed=2)
    script = (
        "import sys; from pathlib import Path; from ternlab.core.lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(held.path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        states = dict(read_runs(tmp_path, warn=silent).select("run_id", "status").iter_rows())
        process.communicate()
    assert states == {held.run_id: "running", killed.run_id: "stopped", finished.run_id: "finished"}
    # The index has the record's word: who holds a lock is asked each time.
    again = dict(read_runs(tmp_path, warn=silent).select("run_id", "status").iter_rows())
    assert again[held.run_id] == "stopped"


def test_settings_are_read_when_they_are_asked_for_and_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    original = module.flat_config
    monkeypatch.setattr(module, "flat_config", lambda path: (seen.append(path), original(path))[1])
    directory = make_run(tmp_path, optim__lr=0.125)
    assert "settings" not in read_runs(tmp_path, warn=silent).columns
    assert not seen
    for _ in range(2):
        (text,) = read_runs(tmp_path, settings=True, warn=silent)["settings"]
        assert json.loads(text)["optim.lr"] == 0.125
    assert seen == [directory.config_file]
    read_runs(tmp_path, warn=silent)
    assert read_runs(tmp_path, settings=True, warn=silent)["settings"].to_list() == [text]
    assert len(seen) == 1


def test_unreadable_settings_are_named_and_the_run_is_kept(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    directory.config_file.write_text("a: [")
    said: list[str] = []
    assert read_runs(tmp_path, settings=True, warn=said.append)["settings"].to_list() == [None]
    assert len(said) == 1 and "config.yaml" in said[0]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--runs"):
        read_runs(tmp_path / "nowhere")


def test_an_empty_folder_has_all_columns(tmp_path: Path) -> None:
    frame = read_runs(tmp_path, warn=silent)
    assert frame.is_empty() and {"run_id", "test/top1", "degradation/top1"} <= set(frame.columns)


def test_a_warning_shows_escape_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\x1b[31mb").mkdir()
    (tmp_path / "a\x1b[31mb" / "record.json").write_text("{")
    read_runs(tmp_path)
    err = capsys.readouterr().err
    assert "\x1b" not in err and "a\\x1b[31mb" in err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("run_id", "status", "data", "seed", "seconds", "attempts", "tags", "git", "host", "error", "metrics", "command")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.dictionaries(st.sampled_from(KEYS), JSON), max_size=4), again=st.booleans())
def test_records_of_any_contents_make_a_table(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], again: bool
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    for number, record in enumerate(records):
        (folder / f"run{number}").mkdir()
        (folder / f"run{number}" / "record.json").write_text(json.dumps({"metrics": {"a/b": 1}, **record}))
    frame = read_runs(folder, warn=silent)
    assert frame["run_id"].to_list() == [f"run{number}" for number in range(len(records))]
    assert read_runs(folder, warn=silent).equals(frame)
    for row, record in zip(frame.to_dicts(), records, strict=True):
        seed = record.get("seed")
        exact = isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < 2**63
        assert row["seed"] == (seed if exact else None)
