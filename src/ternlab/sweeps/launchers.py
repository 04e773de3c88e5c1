"""The registry of launchers, with their settings; a launcher's dependencies are imported when it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ternlab.core.check import checked
from ternlab.core.files import write_text
from ternlab.core.registry import Registry, checked_reference, imported
from ternlab.sweeps.cluster import ClusterSettings
from ternlab.sweeps.local_settings import LocalCluster
from ternlab.sweeps.on_ray.settings import RayCluster
from ternlab.sweeps.on_slurm.settings import SlurmCluster

_NAMES = "launchers.txt"

if TYPE_CHECKING:
    from ternlab.sweeps.launcher import Launcher
    from ternlab.sweeps.plan import Plan


class Jobs(Protocol):
    """A launcher's jobs that outlive the command that submitted them; used by `ternlab sweep` from any terminal.

    Attributes:
        queue: name of the queue (`SLURM`).
    """

    queue: str

    def states(self, folder: Path, sweep_id: str, *, patient: bool = False) -> Mapping[str, str]:
        """Return the queued and running runs of a sweep, with their states as the queue names them.

        Args:
            folder: the sweep's folder.
            sweep_id: the sweep's ID.
            patient: retry while the queue does not respond.

        Raises:
            InfrastructureError: the queue does not respond.
        """
        ...

    def cancel(self, folder: Path, sweep_id: str) -> int:
        """Cancel the jobs of a sweep and return how many there were; running jobs save first.

        Raises:
            InfrastructureError: the queue does not respond.
        """
        ...


@dataclass(frozen=True)
class LauncherEntry:
    """A registry entry for a launcher.

    Attributes:
        settings: the class that checks `cluster.*`.
        launcher: `"package.module:function"` of `launcher_of(folder, plan, cluster) -> Launcher`, which rejects plans
            that cannot run there before anything is started.
        jobs: `"package.module:Class"` of its `Jobs`; `None` if its trials end with the command that started them.
    """

    settings: type[ClusterSettings]
    launcher: str
    jobs: str | None = None

    def __str__(self) -> str:
        return self.launcher


LAUNCHERS: Registry[LauncherEntry] = Registry(
    "launcher",
    "cluster.name",
    {
        "local": LauncherEntry(LocalCluster, "ternlab.sweeps.local:launcher_of"),
        "slurm": LauncherEntry(
            SlurmCluster, "ternlab.sweeps.on_slurm.launcher:launcher_of", "ternlab.sweeps.on_slurm.jobs:SlurmJobs"
        ),
        "ray": LauncherEntry(RayCluster, "ternlab.sweeps.on_ray.launcher:launcher_of"),
    },
)


def register_launcher(name: str, launcher: str, *, settings: type[ClusterSettings], jobs: str | None = None) -> None:
    """Register a launcher under `name`; see `LauncherEntry` for the arguments.

    Raises:
        ValueError: the name is used by another launcher, or `launcher` or `jobs` has no colon.
    """
    if jobs is not None:
        checked_reference("jobs", jobs)
    LAUNCHERS.register(name, LauncherEntry(settings, checked_reference("launcher", launcher), jobs))


def cluster_settings(values: Any) -> ClusterSettings:
    """Check `cluster.*` with the class that the launcher registered.

    Raises:
        SettingsError: the launcher is unknown, does not have an option, or a value is out of range.
    """
    if isinstance(values, ClusterSettings):
        return values
    if not isinstance(values, Mapping):
        return checked(ClusterSettings, values, prefix="cluster")
    name = values.get("name", ClusterSettings.model_fields["name"].default)
    return checked(LAUNCHERS.entry(str(name)).settings, values, prefix="cluster")


def build_launcher(folder: Path, plan: Plan, cluster: ClusterSettings) -> Launcher:
    """Return the launcher that `cluster` selects.

    Args:
        folder: the sweep's folder; not written to before the first task is started.
        plan: the sweep's plan.
        cluster: the launcher's settings.

    Raises:
        SettingsError: the launcher cannot run here, or cannot run this plan.
    """
    of: Callable[[Path, Plan, ClusterSettings], Launcher] = imported(LAUNCHERS.entry(cluster.name).launcher)
    return of(folder, plan, cluster)


def keep_name(folder: Path, cluster: ClusterSettings) -> None:
    """Record in the sweep's folder which launchers have run the sweep."""
    names = [*_kept_names(folder), cluster.name]
    write_text(folder / _NAMES, "".join(f"{name}\n" for name in dict.fromkeys(names)))


def unknown_names(folder: Path) -> list[str]:
    """Return the launchers that have run a sweep but are not registered because their plugin is not imported."""
    return [name for name in _kept_names(folder) if name not in LAUNCHERS]


def _kept_names(folder: Path) -> list[str]:
    try:
        return (folder / _NAMES).read_text().split()
    except OSError:
        return []


def all_jobs() -> Iterator[Jobs]:
    """Yield the jobs of every launcher with a queue; a sweep may have used several."""
    for entry in LAUNCHERS.values():
        if entry.jobs is not None:
            yield imported(entry.jobs)()
