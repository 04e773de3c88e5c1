"""`ternlab results`, as it is typed."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ternlab.commands.cli import main
from tests.reports.made_runs import make_run
from tests.sweeps.made import plan_of, write_status

Typed = tuple[int, str, str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that no test changes."""
    folder = tmp_path_factory.mktemp("project") / "runs"
    for seed, degradation in enumerate((0.5, 1.5, -0.25)):
        make_run(
            folder, {"test/top1": 90.0 - degradation, "degradation/top1": degradation}, quant__name="tga", seed=seed
        )
        make_run(folder, {"test/top1": 90.0}, seed=seed)
    make_run(folder, {"test/top1": 80.0, "degradation/top1": 10.0}, quant__name="tga", optim__lr=0.125)
    make_run(folder, None, "failed", quant__name="twn", record__error={"type": "E", "message": "=cmd\x1b[31m|<b>"})
    return folder


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Typed:
    capsys.readouterr()
    code = main(["results", *map(str, arguments)])
    return code, *capsys.readouterr()


def rows(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, object]]:
    code, out, err = typed(capsys, "--format", "json", *arguments)
    assert code == 0, err
    return json.loads(out)


def in_terminal(columns: int, *arguments: str) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "ternlab", "results", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment):
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            text += part
            if not part:
                break
    os.close(ours)
    return text.decode()


def test_all_runs_with_all_columns(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--runs", runs)
    assert len(found) == 8
    assert {"run_id", "status", "test/top1", "degradation/top1", "export/bytes"} <= found[0].keys()
    assert "settings" not in found[0]
    assert sum(row["test/top1"] is None for row in found) == 1


def test_where_sort_and_columns(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--where", "quant=tga and optim.lr<=0.05", "--columns", "seed,degradation/top1,optim.lr")
    found = rows(capsys, "--runs", runs, *arguments, "--sort", "degradation/top1")
    assert found == [
        {"seed": 2, "degradation/top1": -0.25, "optim.lr": 0.02},
        {"seed": 0, "degradation/top1": 0.5, "optim.lr": 0.02},
        {"seed": 1, "degradation/top1": 1.5, "optim.lr": 0.02},
    ]
    downwards = rows(capsys, "--runs", runs, *arguments, "--sort", "-degradation/top1")
    assert downwards == found[::-1]
    assert rows(capsys, "--runs", runs, *arguments, "--sort", "-optim.weight_decay,seed")[0]["seed"] == 0


def test_patterns_stand_for_columns(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row, *_) = rows(capsys, "--runs", runs, "--columns", "run_id,test/*,optim.schedule.*")
    assert list(row)[:4] == ["run_id", "test/top1", "test/top5", "test/loss"]
    assert {"optim.schedule.name", "optim.schedule.milestones"} <= row.keys()
    code, _, err = typed(capsys, "--runs", runs, "--columns", "nosuch*")
    assert code == 2 and "nosuch*" in err


def test_groups(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--runs", runs, "--group", "--sort", "-degradation/top1")
    assert [(row["quant"], row["n"], row["optim.lr"]) for row in found] == [
        ("tga", 1, 0.125),
        ("tga", 3, 0.02),
        ("none", 3, 0.02),
    ]
    values = [0.5, 1.5, -0.25]
    assert found[1]["degradation/top1/mean"] == pytest.approx(statistics.fmean(values))
    assert found[1]["degradation/top1/std"] == pytest.approx(statistics.stdev(values))
    assert found[0]["degradation/top1/low"] is None
    code, out, _ = typed(capsys, "--runs", runs, "--group", "--columns", "quant,n,degradation/top1", "--sort", "n")
    assert code == 0 and out.splitlines()[0].split()[:7] == [
        "data",
        "model",
        "quant",
        "optim.lr",
        "n",
        "degradation/top1",
        "std",
    ]
    assert "7 finished runs in 3 groups" in out


@pytest.mark.parametrize("key", ["degradation/top1/std", "n", "quant", "-seeds"])
def test_groups_are_sorted_by_their_own_columns(runs: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(rows(capsys, "--runs", runs, "--group", "--sort", key)) == 3


def test_the_old_name_of_a_column_still_sorts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, old, err = typed(capsys, "--runs", runs, "--group", "--sort", "-degradation/top1/deviation")
    assert code == 0 and "are called .../std now" in err
    code, new, err = typed(capsys, "--runs", runs, "--group", "--sort", "-degradation/top1/std")
    assert (code, new, err) == (0, old, "")


def test_states(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = shutil.copytree(runs, tmp_path / "runs")
    make_run(runs, None, "running", seed=9)
    assert [row["seed"] for row in rows(capsys, "--runs", runs, "--status", "stopped")] == [9]
    assert len(rows(capsys, "--runs", runs, "--status", "failed,stopped")) == 2
    code, _, err = typed(capsys, "--runs", runs, "--status", "finish")
    assert code == 2 and "did you mean finished" in err


def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from ternlab.sweeps.plan import write_plan

    runs, sweeps = tmp_path / "runs", tmp_path / "sweeps"
    plan = plan_of(runs, "quant=tga", "optim.lr=0.1,0.2")
    (sweeps / plan.sweep_id).mkdir(parents=True)
    write_plan(plan, sweeps / plan.sweep_id)
    for run in (plan.trials[0].run_id, plan.baselines[0], "somebody-elses"):
        write_status(runs, run, "finished")
    found = rows(capsys, "--sweeps", sweeps, "--sweep", plan.sweep_id[:9])
    assert {row["run_id"] for row in found} == {plan.trials[0].run_id, plan.baselines[0]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--where", "quan=tga"], "did you mean quant"),
        (["--where", "optim.lrr=1"], "did you mean optim.lr"),
        (["--where", "tst/top1>1"], "did you mean test/top1"),
        (["--where", "quant=tga and"], "found the end"),
        (["--columns", "run_id,sede"], "did you mean seed"),
        (["--sort", "-tst/top1"], "did you mean test/top1"),
        (["--sort", "settings"], "not a column"),
        (["--group", "--sort", "host"], "not a column"),
        (["--sweep", "nosuch"], "no such sweep"),
    ],
)
def test_what_is_mistyped(runs: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(capsys, "--runs", runs, *arguments)
    assert (code, out) == (2, "") and said in err and "Traceback" not in err


def test_no_such_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = typed(capsys, "--runs", tmp_path / "nowhere")
    assert code == 2 and "--runs" in err


@pytest.mark.parametrize("more", [[], ["--group"], ["--where", "optim.lr=1"], ["--columns", "run_id,optim.*"]])
@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown"])
def test_an_empty_folder(tmp_path: Path, form: str, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(capsys, "--runs", tmp_path, "--format", form, *more)
    assert code == 0 and "no " in (out if form == "table" else err)
    if form == "json":
        assert json.loads(out) == []


def test_csv_is_safe_in_a_spreadsheet(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = typed(capsys, "--runs", runs, "--format", "csv", "--columns", "error,degradation/top1")
    found = list(csv.reader(io.StringIO(out)))
    assert ["'=cmd\\x1b[31m|<b>", ""] in found and ["", "-0.25"] in found


def test_the_table_is_safe_in_a_terminal(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = typed(capsys, "--runs", runs, "--columns", "error")
    assert "\x1b" not in out and "=cmd\\x1b[31m|<b>" in out


@pytest.mark.parametrize(
    ("name", "form"), [("a.csv", "csv"), ("a.json", "json"), ("a.parquet", "parquet"), ("a.md", "|")]
)
def test_files_by_their_names(
    runs: Path, tmp_path: Path, name: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    code, out, err = typed(capsys, "--runs", runs, "--out", path, "--columns", "seed")
    assert (code, out) == (0, "") and "8 rows" in err
    if form == "csv":
        assert len(path.read_text().splitlines()) == 9
    elif form == "json":
        assert len(json.loads(path.read_text())) == 8
    elif form == "parquet":
        assert pl.read_parquet(path)["seed"].sort().to_list() == [0, 0, 0, 0, 1, 1, 2, 2]
    else:
        assert path.read_text().startswith("| seed |")


def test_a_file_that_cannot_be_written(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = typed(capsys, "--runs", runs, "--out", tmp_path / "no" / "a.csv")
    assert code == 2 and "--out" in err


def test_parquet_goes_into_a_pipe_and_not_to_a_terminal(runs: Path) -> None:
    command = [sys.executable, "-m", "ternlab", "results", "--runs", str(runs), "--format", "parquet"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert len(pl.read_parquet(io.BytesIO(done.stdout))) == 8
    assert "PAR1" not in in_terminal(80, "--runs", str(runs), "--format", "parquet")


@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("more", [(), ("--group",)])
def test_lines_fit_the_terminal(runs: Path, columns: int, more: tuple[str, ...]) -> None:
    lines = in_terminal(columns, "--runs", str(runs), *more).replace("\r", "").splitlines()
    table = lines[: next((number for number, line in enumerate(lines) if not line), len(lines))]
    assert all(len(line) <= columns for line in table)
    assert any("test/top1" in line for line in table) or columns == 40


def test_a_reader_that_leaves_is_fine(runs: Path) -> None:
    command = f"{sys.executable} -m ternlab results --runs {runs} --format json | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_torch_is_imported(runs: Path) -> None:
    script = (
        "import sys; from ternlab.commands.cli import main\n"
        "runs = sys.argv[1]\n"
        "code = main(['results', '--runs', runs, '--group']) + main(['compare', '--runs', runs, 'seed=0', 'seed=1'])\n"
        "sys.exit(code + 10 * ('torch' in sys.modules) + 20 * ('altair' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(runs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
