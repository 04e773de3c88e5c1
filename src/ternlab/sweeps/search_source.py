"""Creates the source of a search's further trials; imports Optuna only if the search needs one."""

from __future__ import annotations

from pathlib import Path

from ternlab.sweeps.plan import Plan
from ternlab.sweeps.planner import Compose
from ternlab.sweeps.schedule import Source
from ternlab.sweeps.search_plan import need_optuna, search_plan_of


def source_of(plan: Plan, plan_file: Path, runs: Path, compose: Compose | None = None) -> Source | None:
    """Return the source of further trials for a plan on disk.

    Args:
        plan: the plan as on disk.
        plan_file: the plan file.
        runs: folder of the runs.
        compose: Hydra's composition; without it, settings that interpolate others cannot be proposed.

    Returns:
        `None` if the trials are complete and none is to be stopped early.

    Raises:
        SettingsError: Optuna is not installed.
    """
    parts = search_plan_of(plan)
    if parts is None:
        return None
    need_optuna(parts.settings)
    from ternlab.sweeps.searching import Searching

    return Searching(plan, plan_file, parts, runs, compose)
