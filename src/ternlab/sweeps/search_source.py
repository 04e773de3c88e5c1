"""Where the further trials of a search come from; Optuna is imported when there is such a source."""

from __future__ import annotations

from pathlib import Path

from ternlab.sweeps.plan import Plan
from ternlab.sweeps.planner import Compose
from ternlab.sweeps.schedule import Source
from ternlab.sweeps.search_plan import need_optuna, search_plan_of


def source_of(plan: Plan, plan_file: Path, runs: Path, compose: Compose | None = None) -> Source | None:
    """Return the source of further trials of a plan that is on the disk.

    Args:
        plan: as it is on the disk.
        plan_file: where.
        runs: folder of the runs.
        compose: Hydra's composition; without it, settings that are taken from others cannot be proposed.

    Returns:
        `None` when all trials are there and none is to be stopped early.

    Raises:
        SettingsError: Optuna is not installed.
    """
    parts = search_plan_of(plan)
    if parts is None:
        return None
    need_optuna(parts.settings)
    from ternlab.sweeps.searching import Searching

    return Searching(plan, plan_file, parts, runs, compose)
