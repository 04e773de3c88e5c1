"""The files and commands of docs/extending.md work as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ternlab.core.errors import ExitCode
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.metrics import read_table
from ternlab.sweeps.plan import read_plan
from tests.commands import run_command, warm_command
from tests.commands.run_command import LONG, ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line
    for block in re.findall(r"<!-- run -->\n```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("python ")
]

TRAININGS = [command for command in COMMANDS if command.startswith("python src/train.py")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page."""
    found = tmp_path_factory.mktemp("extending")
    for name, text in FILES:
        path = found / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return found


def paths(folder: Path) -> str:
    """Return where a process finds the modules of the page and this ternlab."""
    return f"{folder}{os.pathsep}{ROOT / 'src'}"


def test_the_page_has_what_the_tests_below_look_for() -> None:
    names = [name for name, _ in FILES]
    assert len(names) == len(set(names))
    assert {"my_rule.py", "conf/quant/my_rule.yaml", "test_my_rules.py", "test_my_terms.py"} <= set(names)
    assert PAGE.count("<!-- file:") == len(FILES)
    scripts = [command.split()[1] for command in COMMANDS]
    assert scripts == [*5 * ["src/train.py"], "src/export.py", "sweeps/launch.py"]
    short = {name: sum(bool(line.strip()) for line in text.splitlines()) for name, text in FILES}
    for part in ("net", "warm_up", "metric", "optimizer", "export", "launcher", "mixup", "penalty"):
        assert short[f"my_{part}.py"] < 40, part


@pytest.mark.parametrize("command", TRAININGS, ids=lambda command: command.partition(" quant=")[2])
def test_the_commands_train_with_the_parts_they_name(command: str, folder: Path) -> None:
    script, *words = shlex.split(command.replace("FOLDER", str(folder)))[1:]
    assert script == "src/train.py"
    # As it is typed, the first; the others without the seconds of imports.
    run = run_command.run if command == COMMANDS[0] else warm_command.run
    code, out, err = run(folder, *words, "debug=smoke", "trainer=cpu", PYTHONPATH=paths(folder))
    assert code == ExitCode.DONE, err
    rule = next(word.partition("=")[2] for word in words if word.startswith("quant="))
    assert rule in out
    record = _record(folder, command)
    metrics = record["metrics"]
    assert "degradation/top1" in metrics
    if "quant.keep=0.3" in words:
        assert metrics["quant/sparsity"] == pytest.approx(0.7, abs=0.01)
    if "algorithm=my_mixup" in words:
        (row,) = read_table(folder / "logs" / "runs" / record["run_id"] / "metrics.csv")
        entropy, penalty = float(row["loss/cross_entropy"]), float(row["loss/my_penalty"])
        assert penalty > 0
        assert float(row["train/loss"]) == pytest.approx(entropy + 0.1 * penalty)


def test_the_last_training_has_options_a_metric_and_an_optimizer_of_its_own(trained: RunDirectory) -> None:
    config = yaml.safe_load(trained.config_file.read_text())
    assert (config["model"]["filters"], config["optim"]["name"], config["optim"]["alpha"]) == (8, "rmsprop", 0.9)
    metrics = (trained.record() or {})["metrics"]
    assert 0 < metrics["test/brier"] < 2
    assert metrics["degradation/brier"] == metrics["test/brier"] - metrics["baseline/brier"]
    assert {"train/brier", "val/brier"} <= read_table(trained.metrics_file)[0].keys()


def test_the_target_writes_its_file_with_its_option(trained: RunDirectory, folder: Path) -> None:
    (command,) = [one for one in COMMANDS if "src/export.py" in one]
    words = [word.replace("RUN", trained.run_id) for word in shlex.split(command)[2:]]
    code, out, err = run_command.run(folder, *words, script="export.py", PYTHONPATH=paths(folder))
    assert code == ExitCode.DONE, err
    path = trained.path / "export" / "codes.npz"
    assert str(path.relative_to(folder)) in out
    arrays = np.load(path)
    assert [set(np.unique(arrays[name])) <= {-1, 0, 1} for name in arrays] == [True, True]
    with zipfile.ZipFile(path) as file:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())
    assert (trained.record() or {})["metrics"]["export/numpy_bytes"] == path.stat().st_size


@pytest.mark.slow
def test_the_launcher_carries_out_a_sweep(folder: Path) -> None:
    (command,) = [one for one in COMMANDS if "sweeps/launch.py" in one]
    words = shlex.split(command.replace("FOLDER", str(folder)))[2:]
    script = "../sweeps/launch.py"
    code, out, err = run_command.run(folder, *words, "dry_run=true", script=script, PYTHONPATH=paths(folder))
    assert code == ExitCode.DONE, err
    assert "2 runs, one after another: nice -n5" in out
    code, out, err = run_command.run(
        folder, *words, "debug=smoke", "trainer=cpu", script=script, PYTHONPATH=paths(folder)
    )
    assert code == ExitCode.DONE, out + err
    plans = [read_plan(path) for path in (folder / "logs" / "sweeps").glob("*/plan.json")]
    records = [run_directory(folder / "logs/runs", one.run_id).record() for plan in plans for one in plan.trials]
    assert [(record or {})["status"] for record in records] == ["finished", "finished"]


@pytest.fixture(scope="module")
def trained(folder: Path) -> RunDirectory:
    """The run of the last training on the page."""
    words = shlex.split(TRAININGS[-1].replace("FOLDER", str(folder)))[2:]
    code, _, err = run_command.run(folder, *words, "debug=smoke", "trainer=cpu", PYTHONPATH=paths(folder))
    assert code == ExitCode.DONE, err
    return run_directory(folder / "logs" / "runs", _record(folder, TRAININGS[-1])["run_id"])


def _record(folder: Path, command: str) -> dict[str, Any]:
    """Return the record of the run that `command` made."""
    words = [word for word in shlex.split(command)[2:] if "FOLDER" not in word]
    found = [json.loads(path.read_text()) for path in (folder / "logs" / "runs").glob("*/record.json")]
    (record,) = [each for each in found if set(words) <= set(shlex.split(each["command"]))]
    return record


def test_the_warm_up_was_trained_first_and_given_to_the_baseline(folder: Path) -> None:
    (command,) = [command for command in COMMANDS if "my_warm_up" in command]
    test_the_commands_train_with_the_parts_they_name(command, folder)
    runs = folder / "logs" / "runs"
    baseline = json.loads((runs / _record(folder, command)["baseline_run_id"] / "record.json").read_text())
    warm_up = json.loads((runs / baseline["needs"]["warm-up"] / "record.json").read_text())
    assert (warm_up["status"], warm_up["epochs"], baseline["epochs"]) == ("finished", 1, 2)
    assert warm_up["finished"] <= baseline["attempts"][-1]["finished"]


@pytest.mark.slow
def test_the_tests_of_the_page_pass(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_rules.py", "test_my_terms.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The contract's methods were collected, not the example's own test alone.
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 4 * 10 + 4
