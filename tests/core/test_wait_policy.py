"""How OpenMP's threads wait, in real processes: those of ternlab, and those of other programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.wait_policy import OURS, VARIABLES, set_wait_policy, wait_policy
from ternlab.sweeps.plan import write_plan
from tests.commands.run_command import ROOT, TINY, run
from tests.sweeps.made import plan_of

FULL = ("quant=none", *(argument for argument in TINY if not argument.startswith("quant.")))


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this process was started with, or what a command that ran in it has set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def threads(folder: Path) -> list[dict[str, Any]]:
    """Return what the records below `folder` say of threads."""
    return [json.loads(path.read_text())["facts"]["threads"] for path in folder.glob("**/runs/*/record.json")]


def spins(told: str) -> set[str]:
    """Return how often threads look before they sleep, as GNU's OpenMP told when it was loaded (OMP_DISPLAY_ENV)."""
    found = set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", told))
    if not found:
        pytest.skip("torch has another OpenMP here than GNU's")
    return found


def test_threads_of_a_run_sleep_while_they_wait_and_the_header_says_why(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, *FULL, OMP_DISPLAY_ENV="verbose")
    assert code == 0, err
    (found,) = threads(tmp_path)
    assert (found["count"], found["waiting"]) == (1, OURS)
    assert f"CPU threads: 1, wait policy: passive ({found['reason']})" in err
    # It was set before OpenMP was loaded.
    assert spins(err) == {"0"}


@pytest.mark.slow
def test_what_a_user_has_set_stays(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, *FULL, OMP_DISPLAY_ENV="verbose", GOMP_SPINCOUNT="77")
    assert code == 0, err
    (found,) = threads(tmp_path)
    assert (found["waiting"], found["reason"]) == ("GOMP_SPINCOUNT=77", "as set in the environment")
    assert spins(err) == {"77"}


@pytest.mark.slow
def test_the_warm_process_of_a_sweep_has_it_and_a_run_forked_from_it(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, *FULL, "seed=0", "-m", OMP_DISPLAY_ENV="verbose")
    assert code == 0, err
    assert [found["waiting"] for found in threads(tmp_path)] == [OURS]
    # The launcher imports no torch, so what is told is told by the process that runs are forked from.
    assert spins(err) == {"0"}


@pytest.mark.slow
def test_a_trial_on_a_cluster_has_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0")
    words = [str(write_plan(plan, tmp_path)), plan.trials[0].run_id]
    told = _python(["-m", "ternlab.sweeps.trial", *words], OMP_DISPLAY_ENV="verbose")
    assert [found["waiting"] for found in threads(tmp_path)] == [OURS]
    assert spins(told) == {"0"}


@pytest.mark.slow
def test_another_program_keeps_its_environment() -> None:
    """It may import all of ternlab and train with it."""
    script = """
import os
before = dict(os.environ)
import ternlab, torch
import ternlab.commands.train, ternlab.sweeps.local, ternlab.sweeps.trial, ternlab.training.fit
model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 2, 3))
ternlab.quantize(model, "tga")
model(torch.zeros(1, 1, 8, 8)).sum().backward()
changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
print("changed:", sorted(name for name in changed if name.partition("_")[0] in ("OMP", "GOMP", "KMP")))
"""
    assert "changed: []" in _python(["-c", script]).splitlines()


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_a_decision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0")
    before = dict(os.environ)
    set_wait_policy()
    assert dict(os.environ) == before
    assert wait_policy(os.environ)[0] == f"{name}=0"


def test_processes_that_were_started_by_ours_have_the_same_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    set_wait_policy()
    first = wait_policy(os.environ)
    set_wait_policy()
    assert wait_policy(os.environ) == first
    assert first[0] == OURS and first[1]
    assert wait_policy({})[0] == "default"


def _python(words: list[str], **environment: str) -> str:
    """Run Python with these arguments and return what it printed to both streams."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))), **environment}
    done = subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
