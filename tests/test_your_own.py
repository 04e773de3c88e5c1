"""The files and commands of docs/your-own.md, and the program of docs/export.md, work as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from tests.commands import warm_command
from tests.commands.run_command import LONG, ROOT

PAGE = (ROOT / "docs" / "your-own.md").read_text()
FILES = re.findall(
    r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE + (ROOT / "docs" / "export.md").read_text(), re.DOTALL | re.M
)
COMMANDS = [
    line
    for block in re.findall(r"<!-- run -->\n```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
PHOTOS, TABLE, STATE_DICT, WEIGHTS, CNN, TIMM, ONNX, CLASSIFY = COMMANDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page and the data that it makes."""
    found = tmp_path_factory.mktemp("own")
    for name, text in FILES:
        (found / name).write_text(text)
    python(found, "make_data.py")
    return found


@pytest.fixture(scope="module")
def photos(folder: Path) -> str:
    """The id of the run on the folder of images."""
    train(folder, PHOTOS)
    return run_id(folder, "data=image_folder", "quant=twn")


def python(folder: Path, *words: str) -> str:
    """Run a file of the page and return what it prints."""
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**os.environ, "PYTHONPATH": paths(folder), "OMP_NUM_THREADS": "1"},
        text=True, capture_output=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def paths(folder: Path) -> str:
    return f"{folder}{os.pathsep}{ROOT / 'src'}"


def command(folder: Path, line: str, *more: str) -> str:
    """Run a command of the page and return what it prints."""
    _, script, *words = shlex.split(line)
    code, out, err = warm_command.run(
        folder, *words, *more, script=script.removeprefix("src/"), PYTHONPATH=paths(folder)
    )
    assert code == ExitCode.DONE, err
    return out


def train(folder: Path, line: str) -> str:
    return command(folder, line, "debug=smoke", "trainer=cpu")


def run_id(folder: Path, *words: str) -> str:
    """Return the id of the run whose command has these words."""
    found = [json.loads(path.read_text()) for path in (folder / "logs" / "runs").glob("*/record.json")]
    return str(next(one["run_id"] for one in found if set(words) <= set(shlex.split(one["command"])) and one["needs"]))


def test_the_validation_part_and_validation_images_are_what_the_page_says(folder: Path, photos: str) -> None:
    facts = json.loads((folder / "logs" / "runs" / photos / "record.json").read_text())["facts"]
    assert facts["classes"] == ["cat", "dog"]
    out = train(folder, TABLE)
    assert "twn" in out


def test_weights_of_two_classes_start_a_network_for_three(folder: Path, photos: str) -> None:
    command(folder, STATE_DICT.replace("RUN", photos))
    assert "twn" in train(folder, WEIGHTS)


def test_a_network_of_ones_own_trains(folder: Path) -> None:
    assert "tga" in train(folder, CNN)


@pytest.mark.slow
def test_a_network_of_timm_trains(folder: Path) -> None:
    assert "twn" in train(folder, TIMM)


def test_python_alone_quantizes_trains_saves_and_loads(folder: Path) -> None:
    difference, *rest = python(folder, "in_python.py").splitlines()
    assert float(difference) < 1e-5
    assert "bits" in " ".join(rest)


def test_the_program_says_what_predict_says(folder: Path, photos: str) -> None:
    command(folder, ONNX.replace("RUN", photos))
    name, probability = python(folder, *shlex.split(CLASSIFY)[1:]).split()
    image = shlex.split(CLASSIFY)[-1]
    out = command(folder, "python src/predict.py", "model=model.onnx", f"images={image}", "json=true")
    found = json.loads(out)
    assert (name, float(probability)) == (found["class"], pytest.approx(found["probability"], abs=1e-4))
