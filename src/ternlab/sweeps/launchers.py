"""The launchers by name, with their settings; what each needs is imported when it is chosen."""

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
    """The jobs of a launcher that outlive the command that submitted them; for `ternlab sweep`, from any terminal.

    Attributes:
        queue: what the queue is called (`SLURM`).
    """

    queue: str

    def states(self, folder: Path, sweep_id: str, *, patient: bool = False) -> Mapping[str, str]:
        """Return the runs of a sweep that wait or run in the queue, with their states as the queue calls them.

        Args:
            folder: of the sweep.
            sweep_id: of the sweep.
            patient: ask again while the queue does not answer.

        Raises:
            InfrastructureError: the queue does not answer.
        """
        ...

    def cancel(self, folder: Path, sweep_id: str) -> int:
        """Cancel the jobs of a sweep and return how many there were; those that run save first.

        Raises:
            InfrastructureError: the queue does not answer.
        """
        ...


@dataclass(frozen=True)
class LauncherEntry:
    """What the registry knows of a launcher.

    Attributes:
        settings: the class that checks `cluster.*`.
        launcher: `"package.module:function"` of `launcher_of(folder, plan, cluster) -> Launcher`, which refuses what
            cannot run there before anything is started.
        jobs: `"package.module:Class"` of its `Jobs`; `None` when its trials end with the command that started them.
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
    """Add a launcher under `name`; the arguments are those of `LauncherEntry`.

    Raises:
        ValueError: the name is taken by another launcher, or `launcher` or `jobs` has no colon.
    """
    if jobs is not None:
        checked_reference("jobs", jobs)
    LAUNCHERS.register(name, LauncherEntry(settings, checked_reference("launcher", launcher), jobs))


def cluster_settings(values: Mapping[str, Any] | ClusterSettings) -> ClusterSettings:
    """Check `cluster.*` with the class that the launcher registered.

    Raises:
        SettingsError: no such launcher, an option that it does not have, or a value outside its range.
    """
    if isinstance(values, ClusterSettings):
        return values
    name = values.get("name", ClusterSettings.model_fields["name"].default) if isinstance(values, Mapping) else None
    return checked(LAUNCHERS.entry(str(name)).settings, values, prefix="cluster")


def build_launcher(folder: Path, plan: Plan, cluster: ClusterSettings) -> Launcher:
    """Return the launcher that `cluster` asks for.

    Args:
        folder: of the sweep; not written to before the first task is started.
        plan: of the sweep.
        cluster: its settings.

    Raises:
        SettingsError: it cannot run here, or not what the plan asks for.
    """
    of: Callable[[Path, Plan, ClusterSettings], Launcher] = imported(LAUNCHERS.entry(cluster.name).launcher)
    return of(folder, plan, cluster)


def keep_name(folder: Path, cluster: ClusterSettings) -> None:
    """Write down in the folder of a sweep which launcher has carried it out, beside earlier ones."""
    names = [*_kept_names(folder), cluster.name]
    write_text(folder / _NAMES, "".join(f"{name}\n" for name in dict.fromkeys(names)))


def unknown_names(folder: Path) -> list[str]:
    """Return the launchers that have carried out a sweep and are not registered: a plugin has not been imported."""
    return [name for name in _kept_names(folder) if name not in LAUNCHERS]


def _kept_names(folder: Path) -> list[str]:
    try:
        return (folder / _NAMES).read_text().split()
    except OSError:
        return []


def all_jobs() -> Iterator[Jobs]:
    """Yield the jobs of every launcher that has a queue: one sweep may have been in several."""
    for entry in LAUNCHERS.values():
        if entry.jobs is not None:
            yield imported(entry.jobs)()
