"""A file is read as it was written, or refused with one message."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as save_arrays

from ternlab.core.errors import ExitCode, StorageError, TernlabError
from ternlab.export.container import FileFormatError, as_array, read_container, shown, write_container
from tests.export.forging import MARK, with_checksum, written

ARRAYS = {
    "codes/a/0": as_array(b"\x07\xf2\x00"),
    "scale/a/0": np.array(0.25, dtype=np.float32),
    "state/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.zeros((0, 3), dtype=np.int64),
}
HEADER: dict[str, Any] = {"format": "x", "version": 1, "names": ["ä", '\\"sha256\\":\\"', 'b"'], "none": None}
WRITTEN = written(HEADER, ARRAYS)
quick = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    write_container(path, ARRAYS, HEADER)
    return path


def refused(path: Path) -> str:
    """Return the message of the one error that reading gives."""
    with pytest.raises(FileFormatError) as caught:
        read_container(path)
    message = str(caught.value)
    assert "\n  instead: " in message, message
    return message


def test_what_is_written_is_read(file: Path) -> None:
    header, arrays = read_container(file)
    assert header == HEADER
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert np.array_equal(arrays[name], array)


def test_any_safetensors_library_opens_the_file(file: Path) -> None:
    with safe_open(file, "np") as opened:
        assert set(opened.keys()) == set(ARRAYS)
        text = json.loads(opened.metadata()["ternlab"])
    data = file.read_bytes()
    blank = data.replace(text["sha256"].encode(), b"0" * 64)
    assert text["sha256"] == hashlib.sha256(blank).hexdigest()
    assert next(iter(text)) == "sha256"


def test_the_number_of_bytes_is_returned(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_container(path, ARRAYS, HEADER) == path.stat().st_size


def test_the_same_contents_are_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from ternlab.export.container import write_container;"
        "arrays = {name: np.full(3, 7, dtype=np.float32) for name in sys.argv[2:]};"
        "write_container(Path(sys.argv[1]), arrays, {'a': [1, 2.5], 'b': None})"
    )
    names = [f"layer{number}" for number in range(20)]
    found = []
    for seed, order in (("1", names), ("2", names[::-1])):
        path = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program, str(path), *order], check=True, env=environment)
        found.append(path.read_bytes())
    assert found[0] == found[1]


def test_every_truncation_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        assert str(file) in refused(file)
    file.write_bytes(data + b"\0")
    assert "checksum" in refused(file)


def test_every_flipped_byte_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for place in range(len(data)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        refused(file)


@quick
@given(data=st.data())
def test_any_flipped_bit_is_refused(file: Path, data: st.DataObject) -> None:
    changed = bytearray(WRITTEN)
    place = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[place // 8] ^= 1 << place % 8
    file.write_bytes(changed)
    refused(file)


@quick
@given(junk=st.binary(max_size=200), marked=st.booleans())
def test_junk_is_refused(file: Path, junk: bytes, marked: bool) -> None:
    if marked:  # as far as the checksum can tell, it is a file
        header = MARK + b"0" * 64 + junk
        junk = with_checksum(len(header).to_bytes(8, "little") + header + junk)
    file.write_bytes(junk)
    refused(file)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_forged_length_of_the_header_is_refused(file: Path, length: int) -> None:
    file.write_bytes(length.to_bytes(8, "little") + file.read_bytes()[8:])
    refused(file)


def other_files() -> dict[str, bytes]:
    zipped, checkpoint = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a", "b" * 100)
    torch.save({"weight": torch.zeros(3)}, checkpoint)
    return {
        "empty": b"",
        "short": b"\0" * 7,
        "zeros": b"\0" * 100,
        "text": b"a: b\n" * 50,
        "zip": zipped.getvalue(),
        "checkpoint": checkpoint.getvalue(),
        "pickle": pickle.dumps({"a": 1}),
        "safetensors": save_arrays({"weight": np.zeros(3)}),
        "metadata": save_arrays({"weight": np.zeros(3)}, metadata={"format": "pt"}),
        "no checksum": save_arrays({"weight": np.zeros(3)}, metadata={"ternlab": "{}"}),
    }


@pytest.mark.parametrize("kind", other_files())
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(other_files()[kind])
    message = refused(path)
    assert "is not a packed network of ternlab" in message
    assert "src/export.py" in message


class Trap:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_executed(tmp_path: Path) -> None:
    path, trap = tmp_path / "file", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(trap)))
    refused(path)
    assert not trap.exists()


def test_folders_devices_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [
        (tmp_path, "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (pipe, "is not a regular file"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "missing" / "file", "No such file"),
        (tmp_path / ("x" * 300), "name too long"),
        (Path("a\0b"), "null"),
    ]:
        assert reason in refused(path)


@pytest.mark.parametrize(
    "header",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        "[]",
        "3",
        '"text"',
        "null",
        '{"sha256": NaN',
        "{" + '"a": 1' * 3,
        '{"a": ' + "9" * 10_000 + "}",
    ],
)
def test_headers_that_are_no_object_are_refused(file: Path, header: str) -> None:
    mark = '{"sha256":"' + "0" * 64 + '"}'
    data = save_arrays({"a": np.zeros(1)}, metadata={"ternlab": header, "zz": mark})
    file.write_bytes(with_checksum(data))
    refused(file)


@pytest.mark.parametrize("metadata", ["[]", "3", "null", '"text"', '{"ternlab": 3}', '{"ternlab": ["a"]}'])
def test_metadata_that_are_no_texts_are_refused(file: Path, metadata: str) -> None:
    mark = MARK.decode() + "0" * 64
    text = f'{{"__metadata__":{metadata},"{mark}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}'
    file.write_bytes(with_checksum(len(text).to_bytes(8, "little") + text.encode()))
    refused(file)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {},
    ],
)
def test_arrays_that_lie_about_their_bytes_are_refused(file: Path, entry: dict[str, Any]) -> None:
    metadata = {"ternlab": json.dumps({"sha256": "0" * 64}, separators=(",", ":"))}
    text = json.dumps({"__metadata__": metadata, "a": entry}, separators=(",", ":")).encode()
    file.write_bytes(with_checksum(len(text).to_bytes(8, "little") + text + bytes(4)))
    refused(file)


def test_the_forger_writes_what_is_read(file: Path) -> None:
    # Or the forgeries below and in the other tests would be refused for their checksum alone.
    assert file.read_bytes() == WRITTEN
    assert read_container(file)[0] == HEADER


def test_an_interrupted_write_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(name, full)
            with pytest.raises(StorageError):
                write_container(file, {}, {"other": 1})
        assert file.read_bytes() == before
        assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_numbers_that_are_not_json_are_refused_before_anything_is_written(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_container(file, ARRAYS, {"loss": float("nan")})
    assert file.read_bytes() == before


def test_what_a_file_says_is_shown_in_one_short_line() -> None:
    assert shown("a\n\x1b[2J") == r"'a\n\x1b[2J'"
    assert len(shown("a" * 10_000)) == 80
    shown("\ud800").encode()


def test_the_error_ends_a_command_with_wrong_settings() -> None:
    assert issubclass(FileFormatError, TernlabError)
    assert FileFormatError.exit_code == ExitCode.BAD_SETTINGS
