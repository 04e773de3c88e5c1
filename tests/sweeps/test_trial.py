"""One run of a plan, as launchers start it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.plan import write_plan
from ternlab.sweeps.trial import check_code, run_trial
from tests.sweeps.made import plan_of

OTHER = {"commit": "0" * 40, "dirty": True, "diff_sha256": "f" * 64}


def test_a_trial_that_starts_later_refuses_other_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = replace(plan_of(tmp_path / "runs", "quant=none", "seed=0"), code=OTHER, any_code=False)
    run = plan.trials[0].run_id
    path = write_plan(plan, tmp_path)
    assert run_trial(path, run, 1, same_code=True) == ExitCode.BAD_SETTINGS
    assert "commit 0000000000 with changes ffffff" in caplog.text
    assert not (tmp_path / "runs").exists()


def test_other_code_may_be_allowed_for_the_whole_sweep(tmp_path: Path) -> None:
    plan = replace(plan_of(tmp_path / "runs", "quant=none", "seed=0"), code=OTHER, any_code=True)
    path = write_plan(plan, tmp_path)
    assert run_trial(path, plan.trials[0].run_id, 1, same_code=True) == ExitCode.DONE


@pytest.mark.parametrize(("planned", "now"), [(None, OTHER), (OTHER, None), (OTHER, dict(OTHER))])
def test_the_same_code_or_none_that_is_known_is_fine(planned: dict[str, object], now: dict[str, object]) -> None:
    check_code(planned, now)
