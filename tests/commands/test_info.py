"""`ternlab info`, and the names of `ternlab` that read exported files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ternlab
from ternlab.commands.cli import main
from ternlab.core.errors import ExitCode
from ternlab.export import info as module
from ternlab.export import packed
from ternlab.export.container import read_container, write_container
from ternlab.runs.directory import RunDirectory
from tests.commands.conftest import Files

KINDS = ("packed", "onnx", "int8")


def rows(out: str) -> tuple[dict[str, str], list[list[str]]]:
    """Return the totals by name, and the lines of the layers in columns."""
    totals, _, layers = out.partition("\n\n")
    found = dict(re.split(r" {2,}", line, maxsplit=1) for line in totals.splitlines())
    return found, [line.split() for line in layers.splitlines()]


def test_a_packed_file(files: Files, digits_run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files.packed)]) == ExitCode.DONE
    metrics = (digits_run.record() or {})["metrics"]
    totals, (head, *layers) = rows(capsys.readouterr().out)
    size = files.packed.stat().st_size
    assert totals["rule"] == "tga"
    assert totals["network"] == "tiny for 1x8x8, 10 classes"
    assert totals["run"] == digits_run.run_id
    expected = f"{metrics['test/top1']:.2f} % (full precision: {metrics['baseline/top1']:.2f} %)"
    assert totals["test top-1"] == expected
    assert totals["bytes"] == f"{size:,}"
    assert totals["ratio"].split()[0] == f"{metrics['size/float_bytes'] / size:.2f}"
    # 15, 116 and 64 bytes for 72, 576 and 320 weights.
    assert totals["bits/weight"] == f"{8 * 195 / 968:.4f} (codes only, 968 quantized weights)"
    assert head == ["layer", "shape", "levels", "packing", "bytes", "bits/weight"]
    assert layers == [
        ["1", "8x1x3x3", "3", "trit5", "15", "1.6667"],
        ["4", "8x8x3x3", "3", "trit5", "116", "1.6111"],
        ["10", "10x32", "3", "trit5", "64", "1.6000"],
    ]


def test_an_onnx_file(files: Files, digits_run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files.onnx)]) == ExitCode.DONE
    totals, (_, *layers) = rows(capsys.readouterr().out)
    assert totals["file"].startswith("ONNX, opset ")
    assert totals["file"].endswith("float32 activations")
    assert totals["run"] == digits_run.run_id
    assert {(*layer[:1], *layer[1:]) for layer in layers} == {
        ("1.weight.0.codes", "8x1x3x3", "int8", "72", "8.0000"),
        ("4.weight.0.codes", "8x8x3x3", "int8", "576", "8.0000"),
        ("10.weight.0.codes", "10x32", "int8", "320", "8.0000"),
    }


def test_an_int8_file_says_what_it_scored(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files.int8)]) == ExitCode.DONE
    totals, _ = rows(capsys.readouterr().out)
    assert totals["file"].endswith("int8 activations")
    score = module.info(files.int8)["metrics"]["export/int8_top1"]
    assert totals["int8 top-1"] == f"{score:.2f} % (int8 activations, in ONNX Runtime)"


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_what_python_gets(files: Files, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = getattr(files, kind)
    assert main(["info", str(path), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == ternlab.info(path)


@pytest.mark.parametrize(("kind", "name"), [("packed", "net.onnx"), ("onnx", "net.safetensors")])
def test_the_content_decides_and_not_the_name(files: Files, kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(getattr(files, kind).read_bytes())
    assert ternlab.info(tmp_path / name) == ternlab.info(getattr(files, kind))


def test_a_packed_header_whose_length_looks_like_onnx(files: Files, tmp_path: Path) -> None:
    # The first byte of both may be 8: the last byte of a length, or the mark of ONNX's first field.
    data = files.packed.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, arrays = read_container(files.packed)
    for filling in range(0, 256, 8):
        write_container(tmp_path / "net", arrays, {**header, "rule": "r" * (1 + filling)})
        if (tmp_path / "net").read_bytes()[0] == 8:
            break
    assert (tmp_path / "net").read_bytes()[0] == 8 != length % 256
    assert ternlab.info(tmp_path / "net")["format"] == "ternlab-packed"


def test_what_is_no_exported_file_is_refused(
    files: Files, digits_run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in {
        "text": b"hello",
        "nothing": b"",
        "torn": files.packed.read_bytes()[:-9],
        "torn.onnx": files.onnx.read_bytes()[:90],
        "weights": digits_run.weights_file.read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(data)
    for name in ("text", "nothing", "torn", "torn.onnx", "weights", "missing", "."):
        assert main(["info", str(tmp_path / name)]) == ExitCode.BAD_SETTINGS, name
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {tmp_path / name}: ")
        assert "\n  instead: " in err


def test_onnx_that_is_not_installed_is_named(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["info", str(files.onnx)]) == ExitCode.BAD_SETTINGS
    assert "pip install 'ternlab[export]'" in capsys.readouterr().err
    assert main(["info", str(files.packed)]) == ExitCode.DONE


@pytest.mark.parametrize("kind", ["packed", "onnx"])
def test_torch_is_not_imported(files: Files, kind: str) -> None:
    script = (
        "import sys, ternlab; from ternlab.commands.cli import main;"
        "code = main(['info', sys.argv[1]]); ternlab.info(sys.argv[1]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    path = str(getattr(files, kind))
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert "tiny for 1x8x8" in done.stdout


def test_the_reader_of_the_output_may_leave(files: Files) -> None:
    read, write = os.pipe()
    os.close(read)
    script = "import sys; from ternlab.commands.cli import main; sys.exit(main(['info', sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-u", "-c", script, str(files.packed)], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


def test_names_of_the_package() -> None:
    assert ternlab.load is packed.load
    assert ternlab.read_codes is packed.read_codes
    # The function, not the module of the same name.
    assert ternlab.info is module.info
    assert {"info", "load", "read_codes"} <= set(ternlab.__all__)
