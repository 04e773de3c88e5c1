"""Runtimes: what is installed, what is refused, and which one `auto` takes."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.export import runtime_selection, runtimes
from ternlab.export.header import Architecture
from ternlab.export.packed import save
from ternlab.export.runtime_selection import runtime_for
from ternlab.export.runtimes import installed, need, onnx_runtime, openvino_runtime, torch_runtime
from ternlab.export.signature import ModelSignature, read_signature
from tests.export.digits_network import SHAPE, all_images, digits, trained
from tests.export.onnx_helpers import save_onnx

ONNX_RUNTIMES: dict[str, Callable[..., Any]] = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino_runtime}


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let packages be as if they were not installed."""
    for package in packages:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


def architecture() -> Architecture:
    classes = tuple(digits().classes)
    return Architecture(model={"name": "tiny"}, channels=1, size=8, classes=classes)


@functools.cache
def network() -> nn.Module:
    """Return the network of the files."""
    return trained("tga")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSignature]:
    """The same network as a packed file and as an ONNX file."""
    folder = tmp_path_factory.mktemp("files")
    model = network()
    save(model, folder / "packed", architecture=architecture(), preprocessing=digits().preprocessing())
    header = {
        "architecture": architecture().model_dump(mode="json"),
        "preprocessing": digits().preprocessing(),
        "metrics": {},
        "run_id": None,
        "rule": "tga",
    }
    save_onnx(model, folder / "onnx", SHAPE, header)
    return {name: read_signature(folder / name) for name in ("packed", "onnx")}


TWO_FILES_IN_TURN = """
import os, signal, sys
from pathlib import Path

from ternlab.export.runtimes import openvino_runtime

signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
first = openvino_runtime(Path(sys.argv[1]))
second = openvino_runtime(Path(sys.argv[1]))
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_after_two_files_in_openvino_is_handled(files: dict[str, ModelSignature]) -> None:
    command = [sys.executable, "-c", TWO_FILES_IN_TURN, str(files["onnx"].path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def counted(count: int | None) -> Callable[[int], int | None]:
    return lambda limit: count if count is None else min(count, limit)


def chosen(
    about: ModelSignature, caplog: pytest.LogCaptureFixture, wanted: str = "auto", images: int | None = 3
) -> tuple[str, str]:
    """Return the name of the runtime and the line that says why."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "ternlab"):
        runtime = runtime_for(about, wanted, 1, counted(images))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("ternlab")]
    assert len(lines) == (wanted == "auto")
    pictures = all_images()[0][:40]
    with torch.inference_mode():
        expected = network()(pictures).numpy()
    np.testing.assert_allclose(runtime.logits(pictures.numpy()), expected, atol=1e-4 * np.abs(expected).max())
    return runtime.name, "".join(lines)


# --- what is installed


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("openvino")
    need("openvino", "runtime", "openvino")
    hide(monkeypatch, "openvino")
    assert not installed("openvino")
    with pytest.raises(SettingsError) as error:
        need("openvino", "runtime", "openvino")
    assert str(error.value) == (
        "runtime = openvino: openvino is not installed\n  instead: pip install 'ternlab[export]'"
    )
    assert error.value.exit_code == ExitCode.BAD_SETTINGS


def test_looking_for_a_package_does_not_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert installed("colorsys")
    assert "colorsys" not in sys.modules


@pytest.mark.parametrize(("package", "wanted"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
@pytest.mark.parametrize("kind", ["packed", "onnx"])
def test_a_runtime_that_is_asked_for_must_be_there(
    files: dict[str, ModelSignature], package: str, wanted: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, package)
    with pytest.raises(SettingsError, match=f"runtime = {wanted}: {package} is not installed"):
        runtime_for(files[kind], wanted, None, counted(1))


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_converting_needs_the_packages_of_the_export(
    files: dict[str, ModelSignature], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, package)
    with pytest.raises(SettingsError, match=f"{package} is not installed"):
        runtime_for(files["packed"], "onnxruntime", None, counted(1))


# --- the runtimes


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_a_file_that_a_runtime_cannot_open_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a nonsense")
    with pytest.raises(SettingsError, match=f"{name} rejects the file") as error:
        ONNX_RUNTIMES[name](tmp_path / "model.onnx", "")
    assert "instead: " in str(error.value)


def test_torch_in_bfloat16_is_near_float32_and_not_equal() -> None:
    model, images = network(), all_images()[0][:64].numpy()
    exact, rounded = (torch_runtime(model, bfloat16=flag) for flag in (False, True))
    assert (exact.name, rounded.name) == ("torch float32", "torch bfloat16 channels_last")
    expected, found = exact.logits(images), rounded.logits(images)
    assert found.dtype == np.float32
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-5 < difference < 0.1


# --- which one is taken


def test_few_images_are_not_worth_a_conversion(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("converted")

    monkeypatch.setattr(runtime_selection, "_converted", refuse)
    name, why = chosen(files["packed"], caplog)
    assert name == "torch float32"
    assert "longer than it saves" in why


def test_many_images_are(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_selection, "seconds_per_image", lambda *_: 0.1)
    few = round(runtime_selection.CONVERSION_SECONDS / 0.1)
    assert chosen(files["packed"], caplog, images=few)[0] == "torch float32"
    name, why = chosen(files["packed"], caplog, images=few + 1)
    assert name == "openvino"
    assert f"{few:,}" in why


def test_the_time_of_an_image_is_that_of_the_second_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    def slow(images: runtimes.Images) -> runtimes.Images:
        # The first batch takes long, as that of a network that has just been loaded.
        now[0] += 50.0 if now[0] == 100.0 else 0.5 * len(images)
        return images

    monkeypatch.setattr(runtime_selection.time, "perf_counter", lambda: now[0])
    assert runtime_selection.seconds_per_image(runtimes.Runtime("slow", slow), (3, 8, 8)) == 0.5


def test_without_openvino_it_is_onnx_runtime(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_selection, "CONVERSION_SECONDS", 0)
    hide(monkeypatch, "openvino")
    assert chosen(files["packed"], caplog)[0] == "onnxruntime"
    name, why = chosen(files["onnx"], caplog)
    assert name == "onnxruntime"
    assert "openvino is not installed" in why


@pytest.mark.parametrize("packages", [("openvino", "onnxruntime"), ("onnx",), ("onnxscript",)])
def test_torch_needs_nothing_else(
    files: dict[str, ModelSignature],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    packages: tuple[str, ...],
) -> None:
    monkeypatch.setattr(runtime_selection, "CONVERSION_SECONDS", 0)
    hide(monkeypatch, *packages)
    assert chosen(files["packed"], caplog)[0] == "torch float32"


def test_a_runtime_that_disagrees_is_not_taken(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_selection, "CONVERSION_SECONDS", 0)
    real = runtimes.openvino_runtime

    def wrong(*given: Any, **named: Any) -> Any:
        runtime = real(*given, **named)
        return runtimes.Runtime(runtime.name, lambda images: runtime.logits(images) * np.float32(1.001))

    monkeypatch.setattr(runtime_selection, "openvino_runtime", wrong)
    name, why = chosen(files["packed"], caplog)
    assert name == "torch float32"
    assert "openvino differs by 1.0e-03 of the largest logit" in why


def test_a_network_that_cannot_be_converted_stays_in_torch(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_selection, "CONVERSION_SECONDS", 0)

    def refuse(*_: Any, **__: Any) -> None:
        raise SettingsError("format", value="onnx", rule="torch cannot export this network")

    monkeypatch.setattr("ternlab.export.onnx_file.onnx_model", refuse)
    name, why = chosen(files["packed"], caplog)
    assert name == "torch float32"
    assert "torch cannot export this network" in why


def test_an_unknown_number_of_images_does_not_wait(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_selection, "CONVERSION_SECONDS", 0)
    name, why = chosen(files["packed"], caplog, images=None)
    assert name == "torch float32"
    assert "unknown" in why


@pytest.mark.parametrize("wanted", ["torch", "onnxruntime", "openvino"])
def test_the_runtime_that_is_asked_for_is_taken(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture, wanted: str
) -> None:
    assert chosen(files["packed"], caplog, wanted)[0].startswith(wanted)
    if wanted != "torch":
        assert chosen(files["onnx"], caplog, wanted)[0] == wanted


def test_onnx_files_run_in_openvino_by_themselves(
    files: dict[str, ModelSignature], caplog: pytest.LogCaptureFixture
) -> None:
    name, why = chosen(files["onnx"], caplog)
    assert name == "openvino"
    assert why.startswith("runtime: openvino; the file is in ONNX")


def test_torch_does_not_run_onnx_files(files: dict[str, ModelSignature], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="runtime = torch: torch cannot run ONNX files"):
        runtime_for(files["onnx"], "torch", None, counted(1))
    hide(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(SettingsError, match="neither openvino nor onnxruntime") as error:
        runtime_for(files["onnx"], "auto", None, counted(1))
    assert "pip install 'ternlab[export]'" in str(error.value)
