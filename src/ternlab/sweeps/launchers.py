"""The launchers by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ternlab.settings.sweep import ClusterSettings
from ternlab.sweeps.launcher import Launcher
from ternlab.sweeps.plan import Plan

# Each module has `launcher_of(folder, plan, cluster)`, which refuses what cannot run there before anything is started.
# Imported when it is chosen: Ray and submitit need not be installed for the others.
_MODULES = {
    "local": "ternlab.sweeps.local",
    "slurm": "ternlab.sweeps.on_slurm.launcher",
    "ray": "ternlab.sweeps.on_ray.launcher",
}


def build_launcher(folder: Path, plan: Plan, cluster: ClusterSettings) -> Launcher:
    """Return the launcher that `cluster` asks for.

    Args:
        folder: of the sweep; not written to before the first task is started.
        plan: of the sweep.
        cluster: its settings.

    Raises:
        SettingsError: it cannot run here, or not what the plan asks for.
    """
    of: Callable[[Path, Plan, ClusterSettings], Launcher] = import_module(_MODULES[cluster.name]).launcher_of
    return of(folder, plan, cluster)
