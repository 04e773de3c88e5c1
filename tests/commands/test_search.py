"""`python sweeps/launch.py search=...` from the outside."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.plan import Plan, by_setting, read_plan
from ternlab.sweeps.states import State, standing
from tests.commands.conftest import Launch
from tests.commands.run_command import ROOT, TINY, run, start, stop, wait_for

LAUNCH = str(ROOT / "sweeps" / "launch.py")
SETTINGS = (
    *(word for word in TINY if not word.startswith(("quant.", "trainer.max_epochs"))),
    "quant=none",
    "trainer.max_epochs=9",
    "checkpoint.every_steps=1",
    "allow_other_code=true",
    "cluster.workers=2",
)
ASHA = (*SETTINGS, "search=asha", "search.trials=8", "optim.lr=tag(log,interval(1e-4,1e-1))", "seed=0")
SLOW = {"TINY_SECONDS": "0.1"}


def the_plan(folder: Path) -> Plan:
    (path,) = (folder / "logs" / "sweeps").glob("*/plan.json")
    return read_plan(path)


def states(folder: Path) -> dict[str, State]:
    plan = the_plan(folder)
    return {run_id: standing(folder / "logs" / "runs", run_id, plan.pruned).state for run_id in plan.configs}


@pytest.mark.slow
def test_asha_is_killed_and_ends_with_every_setting_finished_or_pruned(tmp_path: Path) -> None:
    for moment in (0.5, 4.0):
        launcher = start(tmp_path, "-m", *ASHA, script=LAUNCH, **SLOW)
        wait_for(tmp_path, "*/checkpoints/*.json")
        time.sleep(moment)
        stop(launcher, signal.SIGKILL)
    code, out, err = run(tmp_path, "-m", *ASHA, script=LAUNCH, **SLOW)
    assert code == ExitCode.DONE, out + err
    plan = the_plan(tmp_path)
    found = states(tmp_path)
    assert len(by_setting(plan.trials)) == len(plan.trials) == 8
    assert set(found.values()) == {State.FINISHED, State.PRUNED}
    assert {name for name, state in found.items() if state is State.PRUNED} == plan.pruned
    folder = tmp_path / "logs" / "sweeps" / plan.sweep_id
    assert sorted(path.name for path in folder.iterdir()) == ["launchers.txt", "lock", "plan.json", "pruned.json"]
    # Typed again, nothing is trained.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "logs" / "runs").glob("*/record.json")}
    code, out, err = run(tmp_path, "-m", *ASHA, script=LAUNCH)
    assert code == ExitCode.DONE, out + err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # The command of a trial is that run, found finished.
    trial = next(trial for trial in plan.trials if found[trial.run_id] is State.FINISHED)
    code, out, err = run(tmp_path, *shlex.split(trial.command)[2:])
    assert code == ExitCode.DONE, err
    assert trial.run_id in out
    assert len(list((tmp_path / "logs" / "runs").iterdir())) == 8


@pytest.mark.slow
def test_tpe_goes_on_after_kill_9_and_with_its_id_alone(tmp_path: Path) -> None:
    typed = (
        *(word for word in SETTINGS if "max_epochs" not in word),
        "trainer.max_epochs=1",
        "search=optuna",
        "search.trials=13",
        "optim.lr=interval(0.01,0.1)",
        "optim.momentum=0.8,0.9",
    )
    launcher = start(tmp_path, "-m", *typed, script=LAUNCH, **SLOW)
    wait_for(tmp_path, "*/model.safetensors")
    stop(launcher, signal.SIGKILL)
    plan = the_plan(tmp_path)
    assert len(plan.trials) >= 10
    code, out, err = run(tmp_path, "-m", f"sweep={plan.sweep_id}", "allow_other_code=true", script=LAUNCH)
    assert code == ExitCode.DONE, out + err
    assert len(the_plan(tmp_path).trials) == 13
    assert the_plan(tmp_path).trials[: len(plan.trials)] == plan.trials
    assert set(states(tmp_path).values()) == {State.FINISHED}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("search=asha", "optim.lr=interval(2,1)"), "must have an end greater than its start"),
        (("search=random", "optim.lr=0.1,0.2", "data.val_fraction=0"), "data.val_fraction = 0"),
        (("search.trials=3",), "search=random search.trials=3"),
    ],
)
def test_bad_searches_are_refused_before_anything_is_written(
    typed: tuple[str, ...], says: str, launch: Launch, tmp_path: Path
) -> None:
    code, out, err = launch(tmp_path, "-m", *SETTINGS, *typed)
    assert code == ExitCode.BAD_SETTINGS, out
    assert says in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
