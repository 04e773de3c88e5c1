"""Plans and records of runs that nobody trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ternlab.runs.directory import run_directory
from ternlab.runs.record import write_record
from ternlab.sweeps.plan import Plan, write_plan
from ternlab.sweeps.planner import Composed, make_plan
from ternlab.sweeps.space import space_of
from tests.needy import NEEDY
from tests.settings_for_tests import tiny_config


def compose_in(runs: Path, **changes: Any) -> Any:
    """Return what stands for Hydra: `name=value` over `tiny_config(runs, **changes)`, `quant` is its only group."""

    def compose(words: list[str]) -> Composed:
        config = tiny_config(runs, **changes)
        for name, text in (word.split("=", 1) for word in words):
            *parents, leaf = name.split(".")
            branch = config
            for parent in parents:
                branch = branch.setdefault(parent, {})
            value: Any = int(text) if text.lstrip("-").isdigit() else float(text) if text[0] in "-.0123456789" else text
            if name == "quant":
                value = {"name": text, **({"init": "scratch"} if text != "none" else {})}
            branch[leaf] = value
        return Composed(config)

    return compose


def plan_of(runs: Path, *typed: str, **changes: Any) -> Plan:
    """Return the plan of a space over tiny runs (`tiny_config`); the tree may change while they run."""
    plan = make_plan(space_of(typed), compose_in(runs, **changes), {"quant"}.__contains__, "python sweeps/launch.py")
    return replace(plan, any_code=True)


def plan_with_depth(runs: Path, *typed: str) -> Plan:
    """Return a plan of TGA runs, each of which needs four others on three levels; see `tests.needy`."""
    return plan_of(runs, "quant=tga", *typed, **NEEDY)


def names(plan: Plan) -> dict[str, str]:
    """Return the runs of a plan with one trial, by what they are to others: `trial`, or their role."""
    (trial,) = plan.trials
    return {"trial": trial.run_id, **{role: run for run, role in plan.roles.items()}}


def write_status(runs: Path, run: str, status: str, **more: Any) -> None:
    """Write the record of a run, as a training would leave it."""
    directory = run_directory(runs, run)
    directory.create()
    metrics = {"val/top1": 50.0, "test/top1": 40.0, "degradation/top1": 1.0} if status == "finished" else {}
    write_record(directory.record_file, {"run_id": run, "status": status, "epochs": 2, "metrics": metrics, **more})


def plan_for_contract(folder: Path) -> tuple[Plan, Path]:
    """Return a plan for `LauncherContract`, written into `folder / "sweep"`: a short trial and an endless one."""
    plan = plan_of(folder / "runs", "quant=none", "trainer.max_epochs=1,500", "checkpoint.every_steps=1")
    sweep = folder / "sweep"
    sweep.mkdir()
    return plan, write_plan(plan, sweep)
