"""The record of a run: one JSON file that any reader can read."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.clock import now
from ternlab.core.errors import ExitCode, StorageError
from ternlab.runs.record import RECORD_VERSION, Status, read_record, write_record


def strict(path: Path) -> Any:
    """Read as other languages do: NaN is not JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_record_comes_back_as_it_was_written_with_its_version(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = {"status": Status.FINISHED, "metrics": {"test/top1": 97.22222222222221}, "tags": ["a"], "error": None}
    write_record(path, record)
    assert read_record(path) == {"record_version": RECORD_VERSION, **record}
    assert strict(path)["status"] == "finished"


def test_numbers_that_are_not_finite_become_null_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, {"metrics": {"a": math.nan, "b": math.inf, "c": 1.5}, "facts": {"x": [-math.inf, (math.nan,)]}})
    assert strict(path)["metrics"] == {"a": None, "b": None, "c": 1.5}
    assert strict(path)["facts"] == {"x": [None, [None]]}


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "record.json") is None
    assert read_record(tmp_path / "nowhere" / "record.json") is None
    (tmp_path / "file").write_text("")
    assert read_record(tmp_path / "file" / "record.json") is None


def test_a_record_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"record_version": RECORD_VERSION + 1, "status": "finished"}))
    with pytest.raises(StorageError, match="newer ternlab"):
        read_record(path)


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b'{"status": "fin', b"[]", b"null", b"7", b"\xff\xfe\x00", b'{"record_version": "1"}'],
)
def test_what_is_not_a_record_is_a_storage_error_that_names_the_file(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(contents)
    with pytest.raises(StorageError, match=r"record\.json") as error:
        read_record(path)
    assert "instead: " in str(error.value)
    assert error.value.exit_code == ExitCode.STORAGE


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, {"text": "0" * 50_000})
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            write_record(path, {"text": str(number % 10) * 50_000})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        record = read_record(path)
        assert record is not None and len(record["text"]) == 50_000 and len(set(record["text"])) == 1
        seen += 1
    writer.join()
    assert seen


def test_the_time_of_day_has_its_zone() -> None:
    assert now()[10] == "T"
    assert now()[-5] in "+-"
