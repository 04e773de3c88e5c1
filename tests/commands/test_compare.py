"""`ternlab compare`: two runs, and two sets of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from scipy import stats

from ternlab.commands.cli import main
from tests.reports.made_runs import make_run

TGA = {0: 90.0, 1: 92.0, 2: 91.0}
SWS = {0: 90.5, 1: 93.0, 2: 92.5}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for rule, values in (("tga", TGA), ("sws", SWS)):
        for seed, value in values.items():
            make_run(tmp_path, {"test/top1": value, "val/top1": 1.0}, quant__name=rule, seed=seed)
    make_run(tmp_path, None, "failed", quant__name="tga", seed=9)
    return tmp_path


def compare(capsys: pytest.CaptureFixture[str], runs: Path, *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["compare", "--runs", str(runs), *arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_run(tmp_path, {"test/top1": 90.0, "val/top1": 50.0}, quant__name="tga", optim__lr=0.125)
    second = make_run(tmp_path, {"test/top1": 90.75}, quant__name="twn", trainer__threads=2)
    lines = [line.split() for line in compare(capsys, tmp_path, first.run_id, second.run_id).splitlines()]
    assert lines[0] == ["A", f"{first.run_id}:", "finished"] and lines[1] == ["B", f"{second.run_id}:", "finished"]
    assert ["optim.lr", "0.125", "0.02"] in lines and ["quant.name", "tga", "twn"] in lines
    assert ["trainer.threads", "2"] in lines
    assert not any(line[:1] in (["seed"], ["optim.momentum"]) for line in lines)
    assert ["test/top1", "90.00", "90.75", "+0.75"] in lines and ["val/top1", "50.00"] in lines
    found = json.loads(compare(capsys, tmp_path, first.run_id, second.run_id, "--json"))
    assert found["metrics"]["test/top1"] == {"a": 90.0, "b": 90.75, "difference": 0.75}
    assert found["settings"]["optim.lr"] == {"a": 0.125, "b": 0.02}


def test_a_setting_that_an_old_run_lacks_is_at_its_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (make_run(tmp_path, quant__name="tga", seed=seed) for seed in (0, 1))
    config = yaml.safe_load(first.config_file.read_text())
    del config["optim"]["label_smoothing"], config["quant"]["threshold"]["init"]
    first.config_file.write_text(yaml.safe_dump(config))
    found = json.loads(compare(capsys, tmp_path, first.run_id, second.run_id, "--json"))
    assert found["settings"] == {"seed": {"a": 0, "b": 1}}


def test_a_run_and_itself(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(runs, quant__name="twn").run_id
    assert "all settings are equal" in compare(capsys, runs, run, run)


def test_a_run_that_is_not_finished(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = make_run(runs, None, "failed", quant__name="twn").run_id
    finished = make_run(runs, quant__name="seq").run_id
    assert f"A  {failed}: failed" in compare(capsys, runs, failed, finished)


def test_two_sets(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(compare(capsys, runs, "quant=tga", "quant=sws", "--json"))
    interval = stats.ttest_rel(list(SWS.values()), list(TGA.values())).confidence_interval(0.95)
    difference = found["metrics"]["test/top1"]["difference"]
    assert (difference["n"], difference["mean"]) == (3, pytest.approx(1.0))
    assert (difference["low"], difference["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert sorted(pair["seed"] for pair in found["pairs"]) == [0, 1, 2]
    lines = [line.split() for line in compare(capsys, runs, "quant=tga", "quant=sws").splitlines()]
    half = (interval.high - interval.low) / 2
    assert ["test/top1", "3", "91.00", "92.00", "+1.00", "0.50", f"{half:.2f}"] in lines
    assert ["3", "pairs", "of", "finished", "runs;", "seeds", "of", "A:", "0,", "1,", "2"] in lines


def test_a_run_and_a_set(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(runs, {"test/top1": 80.0}, quant__name="twn", seed=1).run_id
    out = compare(capsys, runs, run, "quant=sws")
    assert "1 pair of finished runs" in out and "unpaired: 0 of A, 2 of B" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("quant=tga", "quant=nosuch"), "no finished run matches"),
        (("quant=tga", "quan=sws"), "did you mean quant"),
        (("quant=tga", "quant="), "a value after"),
        (("nosuch", "quant=sws"), "there is no such run"),
        (("quant=tga", "seed=0"), "match both"),
    ],
)
def test_what_cannot_be_compared(
    runs: Path, arguments: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = compare(capsys, runs, *arguments, code=2)
    assert said in err and "instead:" in err
