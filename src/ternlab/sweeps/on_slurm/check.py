"""Checks before submission: SLURM is available and has the resources that the runs request."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import tempfile
from pathlib import Path

from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.sweeps.on_slurm.commands import CommandRunner, NoAnswerError, output_of
from ternlab.sweeps.on_slurm.nodes import Nodes, parse_nodes
from ternlab.sweeps.on_slurm.script import check_path, script
from ternlab.sweeps.on_slurm.settings import SlurmCluster
from ternlab.sweeps.on_slurm.submit import kept_variables, takes_no_more
from ternlab.sweeps.plan import Plan

_LARGEST_ARRAY = 1001  # SLURM's default


def check(folder: Path, plan: Plan, cluster: SlurmCluster, run: CommandRunner) -> None:
    """Reject requests that SLURM would reject or leave pending forever.

    Args:
        folder: the sweep's folder; nothing is written there.
        plan: the sweep's plan.
        cluster: resources of each run.
        run: runs a command.

    Raises:
        SettingsError: with what to type instead.
    """
    check_path(folder)
    _check_times(cluster)
    _check_processes(plan, cluster)
    if shutil.which("sbatch") is None:
        raise SettingsError(
            "cluster",
            value="slurm",
            rule="sbatch is not on PATH, so this machine cannot submit jobs",
            instead="cluster=local, or run this command on a login node of the cluster",
        )
    try:
        nodes = parse_nodes(output_of(run, "sinfo", "--noheader", "--exact", "--format=%P|%l|%D|%c|%m|%G"))
    except NoAnswerError as error:
        raise SettingsError(
            "cluster",
            value="slurm",
            rule=f"SLURM does not respond ({error})",
            instead="cluster=local, or re-run the command later (scontrol ping shows whether SLURM is up)",
        ) from error
    for partition in _partitions(cluster, nodes):
        _check_partition(cluster, [one for one in nodes if one.partition == partition])
    _ask_sbatch(folder, cluster, run)


def largest_array(run: CommandRunner) -> int:
    """Return the maximum number of tasks of an array."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", output_of(run, "scontrol", "show", "config"), re.MULTILINE)
    except NoAnswerError:
        found = None
    return max(1, int(found[1])) if found else _LARGEST_ARRAY


def _check_times(cluster: SlurmCluster) -> None:
    # SLURM checks the limits twice a minute, so a signal may arrive that much earlier.
    if cluster.signal_seconds > cluster.time * 30:
        raise SettingsError(
            "cluster.signal_seconds",
            value=cluster.signal_seconds,
            rule=f"must leave at least half of cluster.time ({cluster.time} minutes) for training",
            instead=f"cluster.signal_seconds={cluster.time * 30}, or a longer cluster.time",
        )


def _check_processes(plan: Plan, cluster: SlurmCluster) -> None:
    name = "gpus_per_node" if cluster.gpus_per_node else "processes_per_node"
    processes = getattr(cluster, name)
    for run in plan.configs:
        trainer = plan.configs[run].get("trainer", {})
        for setting, value in (("devices", processes), ("nodes", cluster.nodes)):
            asked = trainer.get(setting) or 1
            if asked not in (1, value):
                own = name if setting == "devices" else "nodes"
                raise SettingsError(
                    f"trainer.{setting}",
                    value=asked,
                    rule=f"on SLURM this is set by cluster.{own}, which is {value}",
                    instead=f"cluster.{own}={asked} without trainer.{setting}",
                )
        if cluster.gpus_per_node and trainer.get("accelerator") == "cpu":
            raise SettingsError(
                "cluster.gpus_per_node",
                value=cluster.gpus_per_node,
                rule="trainer.accelerator=cpu would leave them idle",
                instead="trainer=gpu, or cluster.gpus_per_node=null",
            )


def _partitions(cluster: SlurmCluster, nodes: list[Nodes]) -> list[str]:
    """Return the requested partitions, or SLURM's default; empty if there is neither."""
    known = sorted({one.partition for one in nodes})
    if cluster.partition is None:
        return sorted({one.partition for one in nodes if one.default})
    chosen = cluster.partition.split(",")
    for name in chosen:
        if name not in known:
            raise SettingsError(
                "cluster.partition",
                value=name,
                rule="SLURM has no such partition",
                instead=did_you_mean(name, known),
            )
    # SLURM picks the first of several partitions that fits; whether one does is for sbatch to check.
    return chosen if len(chosen) == 1 else []


def _check_partition(cluster: SlurmCluster, nodes: list[Nodes]) -> None:
    name = nodes[0].partition
    limit = nodes[0].minutes
    if limit is not None and cluster.time > limit:
        raise SettingsError(
            "cluster.time",
            value=cluster.time,
            rule=f"partition {name} allows at most {limit} minutes",
            instead=f"cluster.time={limit} (an unfinished run is requeued and resumes)",
        )
    wanted = {"gpus_per_node": cluster.gpus_per_node, "cpus_per_task": cluster.cpus_per_task, "mem_gb": cluster.mem_gb}
    for setting, value in wanted.items():
        if not any(one.has(setting, value) for one in nodes):
            most = max(one.most(setting) for one in nodes)
            instead = f"cluster.{setting}={most}" if most else f"cluster.{setting}=null, or another cluster.partition"
            raise SettingsError(
                f"cluster.{setting}",
                value=value,
                rule=f"no node of partition {name} has more than {most}",
                instead=instead,
            )
    fitting = sum(one.count for one in nodes if all(one.has(*item) for item in wanted.items()))
    if fitting < cluster.nodes:
        raise SettingsError(
            "cluster.nodes",
            value=cluster.nodes,
            rule=f"partition {name} has {f'only {fitting}' if fitting else 'no'} nodes of this size "
            f"(sinfo -p {name} lists them)",
            instead=f"cluster.nodes={fitting}" if fitting else _sizes_of_one(nodes, wanted, cluster.nodes),
        )


def _sizes_of_one(nodes: list[Nodes], wanted: dict[str, int | None], count: int) -> str:
    """Return the sizes to request for the kind of nodes that has most of what is wanted."""
    best = max(nodes, key=lambda one: sum(one.has(*item) for item in wanted.items()))
    words = [
        f"cluster.{setting}={best.most(setting) or 'null'}"
        for setting, value in wanted.items()
        if not best.has(setting, value)
    ]
    return " ".join([*words, f"cluster.nodes={best.count}"] if best.count < count else words)


def _ask_sbatch(folder: Path, cluster: SlurmCluster, run: CommandRunner) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sbatch") as file:
        file.write(script(cluster, folder, "check.check", 1))
        file.flush()
        answer = run(["sbatch", "--test-only", file.name], kept_variables(cluster))
    words = answer.words
    if answer.code == 0 or answer.silent or _passes(words):
        return
    setting = _setting_of(words)
    raise SettingsError(setting, rule=f"SLURM rejects this job: {words}", instead=_alternatives(setting, cluster, run))


def _passes(words: str) -> bool:
    """Return whether an obstacle is only temporary: nodes that are down or full, or earlier jobs."""
    # "configuration is not available" can also mean that suitable nodes are down; that suitable nodes exist is known.
    now = ("configuration is not available", "nodes are busy")
    return any(sign in words for sign in now) or takes_no_more(words)


def _setting_of(words: str) -> str:
    """Return the setting that sbatch complains about; its messages about limits name all of them."""
    for setting in ("account", "qos", "partition", "constraint"):
        if f"invalid {setting}" in words.lower():
            return f"cluster.{setting}"
    return "cluster"


def _alternatives(setting: str, cluster: SlurmCluster, run: CommandRunner) -> str:
    """Return alternatives to type, from the cluster's accounting."""
    name = setting.removeprefix("cluster.")
    if name == "cluster":
        return "less of cluster.time, cluster.nodes or what a node needs (`sacctmgr show qos` lists the limits)"
    if name not in ("account", "qos"):
        return f"{setting}=null (SLURM's default)"
    command = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={_user()}", f"format={name}")
    known = sorted({one for line in run(command, ()).out.splitlines() for one in line.split(",") if one})
    if known:
        return f"{setting}=NAME, with NAME one of: {', '.join(known)}"
    default = f"{setting}=null (SLURM's default), or " if getattr(cluster, name) is not None else ""
    return f"{default}{setting}=NAME (ask the cluster's administrators for yours)"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
