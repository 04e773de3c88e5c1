"""`ternlab sync` as it is typed: what it prints and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.commands.cli import main
from tests.loggers.made import in_training, made_run
from tests.loggers.test_mirrors import read_tensorboard


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the runs, below the folder where the command is typed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "logs" / "runs"


def test_a_run_is_sent_to_the_logger_that_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = made_run(runs, 3, logger__name="local")
    for _ in range(2):
        assert main(["sync", directory.run_id, "logger=tensorboard", "logger.dir=events"]) == 0
        assert capsys.readouterr().out == f"{directory.run_id}: TensorBoard has all 3 epochs\n"
    (found,) = read_tensorboard(Path(), directory)
    assert [value for _, value in found["epoch"]] == [0, 1, 2]
    assert not (directory.path / "tensorboard").exists()


def test_all_runs_with_a_logger_are_sent(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--all"]) == 2
    mirrored = made_run(runs, 2, logger__name="tensorboard")
    other = made_run(runs, 2, seed=1, logger__name="local")
    made_run(runs, 2, seed=2, logger__name="wandb")
    assert main(["sync", "--all"]) == 0
    assert capsys.readouterr().out == f"{mirrored.run_id}: TensorBoard has all 2 epochs\n"
    assert main(["sync", "--all", "logger=tensorboard"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert f"{other.run_id}: TensorBoard has all 2 epochs" in out


def test_a_run_that_cannot_be_sent_is_named_and_the_code_is_1(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, broken = made_run(runs, 2, logger__name="tensorboard"), made_run(runs, 2, seed=1, logger__name="tensorboard")
    (broken.path / "tensorboard").write_text("a file")
    assert main(["sync", "--all"]) == 1
    out = capsys.readouterr().out
    assert f"{whole.run_id}: TensorBoard has all 2 epochs" in out
    assert f"{broken.run_id}: failed: " in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "takes either run IDs or --all"),
        (["RUN", "--all"], "takes either run IDs or --all"),
        (["RUN"], "does not send runs there\n  instead: ternlab sync"),
        (["RUN", "logger=wandb"], "instead: ternlab wandb sync"),
        (["RUN", "logger=tensorbord"], "did you mean tensorboard"),
        (["RUN", "logger=wandbb"], "one of: mlflow, tensorboard, trackio"),
        (["RUN", "logger=local"], "does not send runs there\n  instead: ternlab sync"),
        (["RUN", "logger=tensorboard", "logger.dirr=x"], "there is no such setting"),
        (["RUN", "logger=tensorboard", "seed=1"], "is not an option of a logger"),
        (["nothing", "logger=tensorboard"], "no such run"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    runs: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    directory = made_run(runs, 1, logger__name="local")
    assert main(["sync", *(word.replace("RUN", directory.run_id) for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_is_being_trained_is_left_alone(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = made_run(runs, 2, logger__name="tensorboard")
    with in_training(directory):
        assert main(["sync", directory.run_id]) == 0
        assert capsys.readouterr().out == f"{directory.run_id}: still training\n"
