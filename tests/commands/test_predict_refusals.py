"""What `python src/predict.py` refuses, and in which words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ternlab
from ternlab.commands.predict import main as predict
from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.export.header import Architecture
from ternlab.export.packed import save
from ternlab.export.prediction import predictions
from ternlab.export.runtimes import Runtime
from ternlab.export.signature import read_signature
from tests.commands import warm_command
from tests.commands.conftest import Files, Here
from tests.commands.predict_helpers import PLUGINS, PREDICT, pictures, stdin
from tests.commands.run_command import ROOT

__all__ = ["pictures"]


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "no model": (["images=pictures"], ["model"]),
    "no images": (["model=PACKED"], ["images"]),
    "missing file": (["model=nothing.tern", "images=pictures"], ["nothing.tern: cannot be read"]),
    "no network": (["model=pictures/000.png", "images=pictures"], ["000.png: is not", "python src/export.py"]),
    "a folder": (["model=pictures", "images=pictures"], ["pictures: "]),
    "missing image": (["model=PACKED", "images=nothing.png"], ["images = nothing.png: there is no such file"]),
    "missing among others": (["model=PACKED", "images=[pictures,gone]"], ["images = gone: there is no such file"]),
    "no fit": (["model=PACKED", "images=pictures/*.gif"], ["no file matches this pattern"]),
    "empty folder": (["model=PACKED", "images=empty"], ["images = empty: no images found", ".png"]),
    "no name": (["model=PACKED", "images=[]"], ["images"]),
    "empty name": (["model=PACKED", "images=''"], ["images"]),
    "too many classes": (["model=PACKED", "images=pictures", "top=11"], ["top = 11", "10 classes", "top=10"]),
    "no classes": (["model=PACKED", "images=pictures", "top=0"], ["top = 0"]),
    "no batch": (["model=PACKED", "images=pictures", "batch_size=0"], ["batch_size = 0"]),
    "unknown runtime": (["model=PACKED", "images=pictures", "runtime=tensorflow"], ["runtime = tensorflow"]),
    "onnx in torch": (["model=ONNX", "images=pictures", "runtime=torch"], ["torch cannot run ONNX"]),
    "unknown key": (["model=PACKED", "image=pictures"], ["image", "did you mean images"]),
    "unknown plugin": (["model=PACKED", "images=pictures", "plugins=[tests.nothing]"], ["tests.nothing"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_words_that_help(
    case: str, files: Files, pictures: Path, tmp_path: Path, here: Here
) -> None:
    typed, words = REFUSED[case]
    (tmp_path / "pictures").symlink_to(pictures)
    (tmp_path / "empty").mkdir()
    names = {"model=PACKED": f"model={files.packed}", "model=ONNX": f"model={files.onnx}"}
    plugins = [] if case == "unknown plugin" else [PLUGINS]
    code, out, err = here(PREDICT, predict, *(names.get(word, word) for word in typed), *plugins, folder=tmp_path)
    assert code == ExitCode.BAD_SETTINGS, err
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


def test_standard_input_without_names_is_refused(files: Files, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"\n")
    code, _, err = here(PREDICT, predict, f"model={files.packed}", "images=-", PLUGINS)
    assert code == ExitCode.BAD_SETTINGS
    assert "no names on standard input" in err


@pytest.mark.parametrize("missing", ["architecture", "preprocessing"])
def test_networks_that_do_not_say_their_input_are_refused(missing: str, files: Files, tmp_path: Path) -> None:
    about: dict[str, Any] = {
        "architecture": Architecture(model={"name": "tiny"}, channels=1, size=8, classes=("a",)),
        "preprocessing": ternlab.info(files.packed)["preprocessing"],
    }
    network = ternlab.quantize(torch.nn.Linear(4, 2), "tga")
    save(network, tmp_path / "net", **{**about, missing: None})
    with pytest.raises(SettingsError, match=f"does not include its {missing}"):
        read_signature(tmp_path / "net")


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "nearest"},
        {"channels": 2},
        {"channels": 3},
        {"size": 9},
        {"crop": 4},
        {"resize": 4},
        {"std": [0.0]},
        {"mean": [0.1, 0.2]},
        {"sharpen": True},
        {"size": 16, "crop": 16, "resize": 16},
    ],
)
def test_a_preparation_that_is_not_known_is_refused(change: dict[str, Any], files: Files, tmp_path: Path) -> None:
    found = ternlab.info(files.packed)
    network = ternlab.quantize(torch.nn.Linear(4, 2), "tga")
    architecture = Architecture.model_validate(found["architecture"])
    save(network, tmp_path / "net", architecture=architecture, preprocessing={**found["preprocessing"], **change})
    with pytest.raises(TernlabError, match=r"its header is invalid|preprocessing does not match") as error:
        read_signature(tmp_path / "net")
    assert error.value.exit_code == ExitCode.BAD_SETTINGS


@pytest.mark.parametrize(("value", "words"), [(np.nan, "is not finite"), (np.inf, "is not finite")])
def test_outputs_that_are_not_numbers_stop(value: float, words: str, files: Files, pictures: Path) -> None:
    runtime = Runtime("broken", lambda images: np.full((len(images), 10), value, np.float32))
    with pytest.raises(TernlabError, match=words):
        list(predictions([str(pictures / "000.png")], runtime, read_signature(files.packed), top=1, batch_size=1))


def test_a_network_with_other_outputs_than_classes_is_refused(files: Files, pictures: Path) -> None:
    runtime = Runtime("other", lambda images: np.zeros((len(images), 9), np.float32))
    with pytest.raises(TernlabError, match="has 10 class names for 9 outputs"):
        list(predictions([str(pictures / "000.png")], runtime, read_signature(files.packed), top=1, batch_size=1))


def test_a_network_of_a_plugin_is_asked_for(files: Files, pictures: Path, tmp_path: Path) -> None:
    typed = (f"model={files.packed}", f"images={pictures}")
    # A process in which it was not registered yet.
    code, out, err = warm_command.run(tmp_path, *typed, script="predict.py")
    assert (code, out) == (ExitCode.BAD_SETTINGS, "")
    assert "holds the network tiny, which is not registered\n  instead: plugins=[" in err


def test_mistakes_are_answered_before_torch_is_imported(files: Files, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ternlab.commands.entry import run;"
        "from ternlab.commands.predict import main;"
        f"code = run(Path({str(ROOT / 'conf' / 'file' / 'predict.yaml')!r}), main);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"model={files.onnx}", "images=gone"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.BAD_SETTINGS
    assert "images = gone: there is no such file" in done.stderr
