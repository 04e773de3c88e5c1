"""What is checked before anything is submitted: that SLURM is there and has what the runs ask for."""

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
    """Refuse what SLURM would refuse, or let wait for ever.

    Args:
        folder: of the sweep; nothing is written there.
        plan: of the sweep.
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
            rule="there is no sbatch on PATH, so this machine submits no jobs",
            instead="this command on a login node of the cluster, or cluster=local",
        )
    try:
        nodes = parse_nodes(output_of(run, "sinfo", "--noheader", "--exact", "--format=%P|%l|%D|%c|%m|%G"))
    except NoAnswerError as error:
        raise SettingsError(
            "cluster",
            value="slurm",
            rule=f"SLURM does not answer ({error})",
            instead="the same command later (scontrol ping shows whether it is back), or cluster=local",
        ) from error
    for partition in _partitions(cluster, nodes):
        _check_partition(cluster, [one for one in nodes if one.partition == partition])
    _ask_sbatch(folder, cluster, run)


def largest_array(run: CommandRunner) -> int:
    """Return how many tasks an array may have."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", output_of(run, "scontrol", "show", "config"), re.MULTILINE)
    except NoAnswerError:
        found = None
    return max(1, int(found[1])) if found else _LARGEST_ARRAY


def _check_times(cluster: SlurmCluster) -> None:
    # SLURM looks at the limits twice a minute: a signal may come that much earlier.
    if cluster.signal_seconds > cluster.time * 30:
        raise SettingsError(
            "cluster.signal_seconds",
            value=cluster.signal_seconds,
            rule=f"must leave at least half of the {cluster.time} minutes of cluster.time to the training",
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
                    rule=f"on SLURM this is what cluster.{own} says, and that is {value}",
                    instead=f"cluster.{own}={asked} and no trainer.{setting}",
                )
        if cluster.gpus_per_node and trainer.get("accelerator") == "cpu":
            raise SettingsError(
                "cluster.gpus_per_node",
                value=cluster.gpus_per_node,
                rule="trainer.accelerator=cpu would leave them idle",
                instead="trainer=gpu, or cluster.gpus_per_node=null",
            )


def _partitions(cluster: SlurmCluster, nodes: list[Nodes]) -> list[str]:
    """Return the partitions that are asked for, or SLURM's default; empty when nobody says."""
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
                instead=f"cluster.partition=NAME; {did_you_mean(name, known)}",
            )
    # SLURM takes the first of several that fits; that one of them does is for sbatch to say.
    return chosen if len(chosen) == 1 else []


def _check_partition(cluster: SlurmCluster, nodes: list[Nodes]) -> None:
    name = nodes[0].partition
    limit = nodes[0].minutes
    if limit is not None and cluster.time > limit:
        raise SettingsError(
            "cluster.time",
            value=cluster.time,
            rule=f"partition {name} allows {limit} minutes",
            instead=f"cluster.time={limit} (a run that is not ready is requeued and goes on)",
        )
    wanted = {"gpus_per_node": cluster.gpus_per_node, "cpus_per_task": cluster.cpus_per_task, "mem_gb": cluster.mem_gb}
    for setting, value in wanted.items():
        if not any(one.has(setting, value) for one in nodes):
            most = max(one.most(setting) for one in nodes)
            raise SettingsError(
                f"cluster.{setting}",
                value=value,
                rule=f"no node of partition {name} has more than {most}",
                instead=f"cluster.{setting}={most}" if most else "another cluster.partition",
            )
    fitting = sum(one.count for one in nodes if all(one.has(*item) for item in wanted.items()))
    if fitting < cluster.nodes:
        raise SettingsError(
            "cluster.nodes",
            value=cluster.nodes,
            rule=f"partition {name} has {fitting} nodes of this size (sinfo -p {name} shows them)",
            instead=f"cluster.nodes={fitting}" if fitting else "fewer GPUs, CPUs or GB on each node",
        )


def _ask_sbatch(folder: Path, cluster: SlurmCluster, run: CommandRunner) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sbatch") as file:
        file.write(script(cluster, folder, "check.check", 1))
        file.flush()
        answer = run(["sbatch", "--test-only", file.name], kept_variables(cluster))
    words = answer.words
    if answer.code == 0 or answer.silent or _passes(words):
        return
    setting = _setting_of(words)
    raise SettingsError(setting, rule=f"SLURM refuses such a job: {words}", instead=_alternatives(setting, run))


def _passes(words: str) -> bool:
    """Return whether what is in the way is in the way now only: nodes that are down or full, jobs of before."""
    # "configuration is not available" also means that the nodes that fit are down; that some would fit is known here.
    now = ("configuration is not available", "nodes are busy")
    return any(sign in words for sign in now) or takes_no_more(words)


def _setting_of(words: str) -> str:
    """Return which setting sbatch complains of; its words on limits name them all."""
    for setting in ("account", "qos", "partition", "constraint"):
        if f"invalid {setting}" in words.lower():
            return f"cluster.{setting}"
    return "cluster"


def _alternatives(setting: str, run: CommandRunner) -> str:
    """Return what could be typed, of what the accounting of the cluster knows."""
    name = setting.removeprefix("cluster.")
    if name not in ("account", "qos"):
        return "other settings of cluster"
    command = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={_user()}", f"format={name}")
    known = sorted({one for line in run(command, ()).out.splitlines() for one in line.split(",") if one})
    return f"{setting}=NAME{', one of: ' if known else ''}{', '.join(known)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
