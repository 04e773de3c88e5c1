"""`python sweeps/launch.py` and `ternlab sweep` from the outside."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.commands.cli import main as cli
from ternlab.commands.run_sweep import _agreed
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.runs import provenance
from ternlab.runs.identity import run_id
from ternlab.runs.record import Record
from ternlab.settings.load import settings_from_config
from ternlab.sweeps.plan import Plan, plan_file, read_plan, write_plan
from ternlab.sweeps.settings import SweepSettings
from tests.commands import warm_command
from tests.commands.conftest import Launch
from tests.commands.run_command import LONG, ROOT, TINY, run, start, stop, wait_for
from tests.made_once import made_once
from tests.sweeps.made import plan_of, write_status

LAUNCH = str(ROOT / "sweeps" / "launch.py")
# The tree may change while the tests run; what a changed one does has a test of its own.
FIXED = (*TINY, "checkpoint.every_steps=1", "allow_other_code=true")
SWEEP = (*FIXED, "quant=tga,twn", "seed=0")
SLOW = {"TINY_SECONDS": "0.3"}
ANY_CHECKPOINT = "*/checkpoints/*.json"


def records(folder: Path) -> dict[str, Record]:
    return {path.parent.name: json.loads(path.read_text()) for path in (folder / "logs" / "runs").glob("*/record.json")}


def weights(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / "logs" / "runs").glob("*/model.safetensors")}


def the_plan(folder: Path) -> Plan:
    (path,) = (folder / "logs" / "sweeps").glob("*/plan.json")
    return read_plan(path)


def ternlab(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run `ternlab ...` as its own process, and say on the last line of standard error whether torch was imported."""
    program = (
        "import sys; from ternlab.commands.cli import main; code = main(sys.argv[1:]); "
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=folder, capture_output=True, text=True, timeout=LONG, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the sweep was carried out without interruption."""

    def sweep_in(folder: Path) -> None:
        code, out, err = run(folder, *SWEEP, script=LAUNCH)
        assert code == ExitCode.DONE, out + err

    return made_once(tmp_path_factory, "sweep", sweep_in)


def test_a_sweep_leaves_finished_runs_a_table_and_three_files(finished: Path) -> None:
    found = records(finished)
    assert sorted(record["quant"] for record in found.values()) == ["none", "tga", "twn"]
    assert all(len(record["attempts"]) == 1 and record["status"] == "finished" for record in found.values())
    plan = the_plan(finished)
    assert {*plan.baselines, *(trial.run_id for trial in plan.trials)} == set(found)
    for trial in plan.trials:
        assert found[trial.run_id]["command"] == trial.command
        assert found[trial.run_id]["baseline_run_id"] == trial.baseline
    folder = finished / "logs" / "sweeps" / plan.sweep_id
    assert sorted(path.name for path in folder.iterdir()) == ["launchers.txt", "lock", "plan.json"]
    assert sorted(path.name for path in finished.iterdir()) == ["logs"]


def test_the_same_command_again_prints_the_table_and_trains_nothing(finished: Path, launch: Launch) -> None:
    before = records(finished)
    code, out, err = launch(finished, *SWEEP)
    assert code == ExitCode.DONE, err
    assert "3 of 3 runs already ended" in out
    assert "best setting by mean val/top1" in out
    assert records(finished) == before


def test_a_larger_space_shares_the_finished_runs(finished: Path, launch: Launch, tmp_path: Path) -> None:
    shutil.copytree(finished / "logs", tmp_path / "logs")
    code, out, _ = launch(tmp_path, *FIXED, "quant=tga,twn,sws", "seed=0", "dry_run=true")
    assert code == ExitCode.DONE
    assert "3 trials, 1 baselines (1 waiting, 3 finished)" in out
    assert len(list((tmp_path / "logs" / "sweeps").iterdir())) == 1


def test_status_wait_and_logs_need_no_torch(finished: Path) -> None:
    name = the_plan(finished).sweep_id
    code, out, err = ternlab(finished, "sweep", "status", name)
    assert code == ExitCode.DONE
    assert "(3 finished)" in out
    assert "\nended\n" in out
    assert err.strip() == "False"
    code, out, err = ternlab(finished, "sweep", "wait", name[-4:])
    assert code == ExitCode.DONE
    assert "best setting by mean val/top1" in out
    assert err.strip() == "False"
    trial = the_plan(finished).trials[0].run_id
    code, out, err = ternlab(finished, "sweep", "logs", name, trial, "--lines", "3")
    assert code == ExitCode.DONE
    assert f"== {trial}: finished" in out
    assert len(out.splitlines()) == 5
    assert err.strip() == "False"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["status", "nonsense"], "there is no such sweep"),
        (["cancel", "sweep"], "is not running, so there is nothing to cancel"),
        (["logs", "sweep", "nonsense"], "is not a run of"),
    ],
)
def test_ternlab_sweep_refuses_what_is_not_there(
    words: list[str], says: str, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished)
    assert cli(["sweep", *words]) == ExitCode.BAD_SETTINGS
    assert says in capsys.readouterr().err


def test_a_plan_is_printed_and_its_commands_make_exactly_its_runs(launch: Launch, tmp_path: Path) -> None:
    typed = (*FIXED, "optim.lr=0.01,1e-3", "quant=tga,none", "tags=[a,'b c'],[]", "dry_run=true")
    code, out, err = launch(tmp_path, *typed)
    assert code == ExitCode.DONE, err
    assert not list(tmp_path.iterdir())
    commands = [line for line in out.splitlines() if line.startswith("python src/train.py")]
    rows = [line.split() for line in out.splitlines() if " waiting " in line and line.startswith("digits")]
    ids = [row[0] for row in rows]
    # Tags change no run: eight points are four runs.
    assert len(commands) == len(ids) == 4
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for command, expected in zip(commands, ids, strict=True):
            composed: Any = OmegaConf.to_container(compose("train", shlex.split(command)[2:]), resolve=True)
            config = {name: value for name, value in composed.items() if name not in ("experiment", "debug")}
            assert run_id(settings_from_config(config)) == expected


def test_an_experiments_own_rule_counts(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /quant: sws\n"
    )
    options = ("--config-dir", "own", *FIXED[:4], "trainer=cpu", "experiment=mine", "seed=0,1", "dry_run=true")
    code, out, err = launch(tmp_path, *options)
    assert code == ExitCode.DONE, err
    assert "digits-tiny-sws-s0" in out
    assert "-tga-" not in out
    assert "python src/train.py --config-dir own" in out


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "empty space": (["seed=range(0,0)"], ["seed", "no trial"]),
    "unknown key": (["optim.lrr=0.1,0.2"], ["optim.lrr", "optim.lr"]),
    "unknown choice": (["quant=tga,tgaa"], ["quant = tgaa", "did you mean tga"]),
    "one value outside": (["optim.lr=0.1,-1"], ["optim.lr = -1", "greater than 0", "at: optim.lr=-1"]),
    "axis twice": (["seed=0,1", "seed=2,3"], ["seed", "given twice"]),
    "interval": (["optim.lr=interval(0.1,0.2)"], ["interval", "optim.lr=a,b,c"]),
    "grammar": (["seed=1,"], ["command line"]),
    "axis of the sweep": (["retries=1,2"], ["retries", "whole sweep"]),
    "axis of folders": (["paths.runs=a,b"], ["paths.runs", "whole sweep"]),
    "zero workers": (["cluster.workers=0"], ["cluster.workers = 0", "greater than or equal to 1"]),
    "other cluster": (["cluster=slrum"], ["cluster = slrum", "slurm"]),
    "other launcher": (["cluster.name=slrum"], ["cluster.name = slrum", "slurm"]),
    "setting of another cluster": (["cluster=slurm", "cluster.workers=2"], ["cluster.workers"]),
    "returning at once": (["wait=false"], ["wait", "cluster=slurm"]),
    "trials of a grid": (["search.trials=3"], ["search.trials"]),
    "force": (["force=true"], ["force", "resumes from"]),
    "no such sweep": (["sweep=sweep-0"], ["sweep = sweep-0", "no such sweep"]),
    "settings of a planned sweep": (["sweep=sweep-0", "seed=1,2"], ["sweep-0", "seed=1,2"]),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_input_is_refused_before_anything_is_written(case: str, launch: Launch, tmp_path: Path) -> None:
    typed, says = REFUSED[case]
    code, out, err = launch(tmp_path, *typed)
    assert code == ExitCode.BAD_SETTINGS
    assert all(words in err for words in says), err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_sweep_of_another_folder_is_not_begun_again_here(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, other = tmp_path / "begun", tmp_path / "other"
    begun.mkdir()
    other.mkdir()
    plan = plan_of(Path("logs/runs"), "quant=none", "seed=0,1")
    folder = begun / "logs" / "sweeps" / plan.sweep_id
    folder.mkdir(parents=True)
    write_plan(replace(plan, folder=str(begun)), folder)
    code, _, err = launch(other, f"sweep={folder}")
    assert code == ExitCode.BAD_SETTINGS
    assert f"cd {begun}" in err
    assert not list(other.iterdir())
    monkeypatch.chdir(other)
    assert cli(["sweep", "status", str(folder)]) == ExitCode.BAD_SETTINGS
    monkeypatch.chdir(begun)
    assert cli(["sweep", "status", str(folder)]) == ExitCode.DONE


@pytest.mark.slow
def test_one_diverging_trial_fails_alone_and_is_in_the_table(tmp_path: Path) -> None:
    typed = [word for word in FIXED if not word.startswith("quant.")]
    code, out, err = run(tmp_path, *typed, "optim.lr=0.05,1e30", "quant=none", script=LAUNCH)
    assert code == 3, out + err
    states = {record["status"] for record in records(tmp_path).values()}
    assert states == {"finished", "diverged"}
    (row,) = [line for line in out.splitlines() if "diverged  " in line]
    assert "optim.lr=1e+30" in row
    assert "no longer finite" in row
    log = row.split()[-1]
    assert (tmp_path / log).is_file()
    assert "n  val/top1" in out


@pytest.mark.slow
def test_a_running_sweep_is_watched_and_cancelled_and_goes_on_to_the_same_bits(
    finished: Path, launch: Launch, tmp_path: Path
) -> None:
    launcher = start(tmp_path, *SWEEP, script=LAUNCH, TINY_SECONDS="2")
    try:
        wait_for(tmp_path, ANY_CHECKPOINT)
        plan = plan_file(tmp_path / "logs" / "sweeps" / the_plan(tmp_path).sweep_id)
        before = plan.stat()
        code, _, err = launch(tmp_path, *SWEEP)
        assert code == ExitCode.HELD
        assert "held by another process" in err
        assert plan.stat() == before
        assert all(len(record["attempts"]) == 1 for record in records(tmp_path).values())
        code, out, err = ternlab(tmp_path, "sweep", "status", "sweep")
        assert "running" in out.splitlines()
        assert " running" in out.splitlines()[0]
        assert err.strip() == "False"
        code, out, _ = ternlab(tmp_path, "sweep", "logs", "sweep")
        assert ": running" in out
        assert "96 training" in out
        code, out, err = ternlab(tmp_path, "sweep", "cancel", "sweep")
        assert code == ExitCode.DONE
        assert err.strip() == "False"
        assert launcher.poll() is not None or launcher.wait(LONG) is not None
    finally:
        code, out, err = stop(launcher)
    assert code == ExitCode.INTERRUPTED
    assert "stopped by SIGTERM" in out
    assert "To resume:\n  python " in out
    assert "running" not in {record["status"] for record in records(tmp_path).values()}
    assert ternlab(tmp_path, "sweep", "wait", "sweep")[0] == 3
    code, out, err = run(tmp_path, *SWEEP, script=LAUNCH)
    assert code == ExitCode.DONE, out + err
    assert weights(tmp_path) == weights(finished)


def kill_and_go_on(folder: Path, finished: Path, moments: list[float]) -> None:
    for moment in moments:
        launcher = start(folder, *SWEEP, script=LAUNCH, **SLOW)
        wait_for(folder, ANY_CHECKPOINT)
        time.sleep(moment)
        stop(launcher, signal.SIGKILL)
    code, out, err = run(folder, *SWEEP, script=LAUNCH)
    assert code == ExitCode.DONE, out + err
    assert weights(folder) == weights(finished)
    found = records(folder)
    assert found.keys() == records(finished).keys()
    assert {record["status"] for record in found.values()} == {"finished"}
    assert not list((folder / "logs" / "sweeps").glob("*/output"))


@pytest.mark.slow
def test_kill_9_of_the_launcher_loses_nothing(finished: Path, tmp_path: Path) -> None:
    kill_and_go_on(tmp_path, finished, [0.1])


@pytest.mark.slow
def test_kill_9_of_the_launcher_three_times_at_random_moments(finished: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    kill_and_go_on(tmp_path, finished, [moments.uniform(0, 6) for _ in range(3)])


@pytest.mark.slow
def test_edits_of_the_configuration_change_no_planned_trial(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "conf", copy / "conf")
    (copy / "sweeps").mkdir()
    script = str(shutil.copy(LAUNCH, copy / "sweeps"))
    launcher = start(tmp_path, *SWEEP, script=script, **SLOW)
    wait_for(tmp_path, ANY_CHECKPOINT)
    for path in (copy / "conf" / "optim").glob("*.yaml"):
        path.write_text(path.read_text() + "lr: 0.3\n")
    code, out, _ = stop(launcher, signal.SIGINT)
    assert code == ExitCode.INTERRUPTED
    assert "stopped by SIGINT" in out
    name = the_plan(tmp_path).sweep_id
    code, out, err = run(tmp_path, f"sweep={name}", "allow_other_code=true", script=script)
    assert code == ExitCode.DONE, out + err
    assert weights(tmp_path) == weights(finished)
    # What is typed now is another sweep.
    _, out, _ = run(tmp_path, *SWEEP, "dry_run=true", script=script)
    assert "3 waiting" in out
    assert name not in out


def test_other_code_than_the_plans_is_refused_once_a_run_was_begun(
    finished: Path, launch: Launch, tmp_path: Path
) -> None:
    shutil.copytree(finished / "logs", tmp_path / "logs")
    path = plan_file(tmp_path / "logs" / "sweeps" / the_plan(tmp_path).sweep_id)
    found = json.loads(path.read_text())
    found["code"] = {"commit": "0" * 40, "dirty": False, "diff_sha256": ""}
    path.write_text(json.dumps(found))
    typed = [word for word in SWEEP if not word.startswith("allow")]
    code, _, err = launch(tmp_path, *typed)
    assert code == ExitCode.BAD_SETTINGS
    assert "commit 0000000000" in err
    assert "allow_other_code=true" in err
    code, out, err = launch(tmp_path, *SWEEP)
    assert code == ExitCode.DONE, out + err


@pytest.mark.slow
def test_a_run_that_is_trained_elsewhere_is_waited_for(finished: Path, tmp_path: Path) -> None:
    plan = the_plan(finished)
    baseline = [word for word in FIXED if not word.startswith(("quant.", "allow"))]
    elsewhere = warm_command.start(tmp_path, "quant=none", *baseline, "seed=0", **SLOW)
    wait_for(tmp_path, ANY_CHECKPOINT)
    elsewhere.send_signal(signal.SIGSTOP)
    launcher = start(tmp_path, *SWEEP, "retries=0", script=LAUNCH)
    assert launcher.stderr is not None
    assert "waits for it" in launcher.stderr.readline()
    elsewhere.send_signal(signal.SIGCONT)
    out, err = launcher.communicate(timeout=LONG)
    _, said = elsewhere.communicate(timeout=LONG)
    assert launcher.returncode == ExitCode.DONE, out + err
    found = records(tmp_path)
    assert found.keys() == records(finished).keys(), said
    assert len(found[plan.baselines[0]]["attempts"]) == 1
    assert weights(tmp_path) == weights(finished)


def test_a_plan_of_which_nothing_was_begun_is_of_the_code_that_begins(finished: Path, tmp_path: Path) -> None:
    plan = replace(
        read_plan(next((finished / "logs" / "sweeps").glob("*/plan.json"))), code={"commit": "0" * 40, "dirty": False}
    )
    folder = tmp_path / plan.sweep_id
    folder.mkdir()
    write_plan(plan, folder)
    now = provenance.git_state()
    found = _agreed(plan, folder, tmp_path / "runs", SweepSettings())
    assert found.code == read_plan(plan_file(folder)).code == now
    write_plan(plan, folder)
    write_status(tmp_path / "runs", plan.baselines[0], "failed")
    if now is not None:
        with pytest.raises(SettingsError, match="was started by commit 0000000000"):
            _agreed(plan, folder, tmp_path / "runs", SweepSettings())
    assert _agreed(plan, folder, tmp_path / "runs", SweepSettings(allow_other_code=True)).code == plan.code


def test_a_cluster_of_the_user_is_a_choice_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "mine" / "cluster").mkdir(parents=True)
    (tmp_path / "mine" / "cluster" / "lab.yaml").write_text("defaults: [local, _self_]\nworkers: 3\n")
    mine = {"TERNLAB_CONFIG": str(tmp_path / "mine"), "TERNLAB_RUNS": str(tmp_path / "runs")}
    code, out, err = run(tmp_path, "-m", "cluster=lab", "quant=none", "seed=0,1,2,3", "dry_run=true", **mine)
    assert code == 0, err
    assert "4 runs on this machine, 3 at a time" in out
