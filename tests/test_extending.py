"""The files and commands of docs/extending.md work as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.errors import ExitCode
from tests.commands.run_command import ROOT, run

PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line
    for block in re.findall(r"<!-- run -->\n```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("python ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page."""
    found = tmp_path_factory.mktemp("extending")
    for name, text in FILES:
        path = found / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return found


def test_the_page_has_what_the_tests_below_look_for() -> None:
    names = [name for name, _ in FILES]
    assert len(names) == len(set(names))
    assert {"my_rule.py", "conf/quant/my_rule.yaml", "test_my_rules.py"} <= set(names)
    assert PAGE.count("<!-- file:") == len(FILES)
    assert len(COMMANDS) == 3


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.partition(" quant=")[2])
def test_the_commands_train_with_the_rule(command: str, folder: Path) -> None:
    script, *words = shlex.split(command.replace("FOLDER", str(folder)))[1:]
    assert script == "src/train.py"
    code, out, err = run(folder, *words, "debug=smoke", "trainer=cpu", PYTHONPATH=str(folder))
    assert code == ExitCode.DONE, err
    rule = next(word.partition("=")[2] for word in words if word.startswith("quant="))
    assert rule in out
    metrics = _record(folder, command)["metrics"]
    assert "degradation/top1" in metrics
    if "quant.keep=0.3" in words:
        assert metrics["quant/sparsity"] == pytest.approx(0.7, abs=0.01)


def _record(folder: Path, command: str) -> dict[str, Any]:
    """Return the record of the run that `command` made: the one with its last word."""
    last = command.split()[-1]
    found = [json.loads(path.read_text()) for path in (folder / "logs" / "runs").glob("*/record.json")]
    (record,) = [each for each in found if f"{last} debug=smoke" in each["command"]]
    return record


def test_the_warm_up_was_trained_first_and_given_to_the_baseline(folder: Path) -> None:
    (command,) = [command for command in COMMANDS if "my_warm_up" in command]
    test_the_commands_train_with_the_rule(command, folder)
    runs = folder / "logs" / "runs"
    baseline = json.loads((runs / _record(folder, command)["baseline_run_id"] / "record.json").read_text())
    warm_up = json.loads((runs / baseline["needs"]["warm-up"] / "record.json").read_text())
    assert (warm_up["status"], warm_up["epochs"], baseline["epochs"]) == ("finished", 1, 2)
    assert warm_up["finished"] <= baseline["attempts"][-1]["finished"]


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_rules.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The contract's methods were collected, not the example's own test alone.
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 4 * 10
