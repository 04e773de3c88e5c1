"""The SLURM job of this process, and whether a run matches it."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from ternlab.core.errors import SettingsError


@dataclass(frozen=True)
class Allocation:
    """A SLURM job, as described by the environment of one of its processes.

    Attributes:
        job_id: SLURM_JOB_ID, unique for every task of an array.
        job: its name for users and `scontrol`: `<array id>_<task number>` for an array task, else `job_id`.
        restarts: how many times SLURM has requeued it.
        nodes, tasks: counts of the step that `srun` started, else of the job; 1 if SLURM does not set them.
        node, process: number of this node, and of this process among those that `srun` started together.
        step: id of the step; `None` outside a step, as in a batch script or in the shell of `salloc`.
        nodelist: names of the nodes, in SLURM's short form (`n[1-2]`).
    """

    job_id: str
    job: str
    restarts: int
    nodes: int
    tasks: int
    node: int
    process: int
    step: str | None
    nodelist: str


def allocation(environment: Mapping[str, str] | None = None) -> Allocation | None:
    """Return the job of this process, or `None` outside SLURM.

    Args:
        environment: default: the environment of this process.
    """
    given = os.environ if environment is None else environment
    job_id = given.get("SLURM_JOB_ID")
    if not job_id:
        return None
    array, index = given.get("SLURM_ARRAY_JOB_ID"), given.get("SLURM_ARRAY_TASK_ID")
    # A batch script also has SLURM_PROCID; only processes started by srun have the number of tasks.
    step = given.get("SLURM_STEP_ID", given.get("SLURM_STEPID", "0")) if "SLURM_STEP_NUM_TASKS" in given else None
    nodes = ("SLURM_STEP_NUM_NODES",) if step is not None else ()
    tasks = ("SLURM_STEP_NUM_TASKS",) if step is not None else ()
    return Allocation(
        job_id=job_id,
        job=f"{array}_{index}" if array and index else job_id,
        restarts=_number(given, "SLURM_RESTART_COUNT", default=0),
        nodes=_number(given, *nodes, "SLURM_NNODES", "SLURM_JOB_NUM_NODES", default=1),
        tasks=_number(given, *tasks, "SLURM_NTASKS", default=1),
        node=_number(given, "SLURM_NODEID", default=0),
        process=_number(given, "SLURM_PROCID", default=0),
        step=step,
        nodelist=given.get("SLURM_STEP_NODELIST") or given.get("SLURM_JOB_NODELIST", ""),
    )


def leave_step(environment: MutableMapping[str, str]) -> None:
    """Remove from `environment` the information that this process is one of several tasks of `srun`.

    For processes that srun starts on every node and that start their own runs (Ray workers).
    """
    for name in [name for name in environment if name.startswith("SLURM_STEP") or name == "SLURM_PROCID"]:
        del environment[name]


def check_tasks(nodes: int, environment: Mapping[str, str] | None = None) -> None:
    """Make sure that a run with `trainer.nodes=nodes` was started correctly: with one task on each of its nodes.

    Args:
        nodes: nodes of the run.
        environment: default: the environment of this process.

    Raises:
        SettingsError: it was not; the message shows the lines to change in the job script.
    """
    given = os.environ if environment is None else environment
    here = allocation(given)
    if nodes == 1:
        if here is not None and here.step is not None and here.tasks > 1:
            raise _too_many(here)
        return
    if here is None:
        raise _refused(nodes, "needs a SLURM job with one task on each node, but this process is not in a job")
    # Checked before the step: the lines of the job script are what the user has to change.
    if here.nodes != nodes or here.tasks != nodes:
        raise _refused(nodes, f"needs {nodes} nodes with one task on each, but SLURM started: {_said(given)}")
    if here.step is None:
        raise _refused(nodes, "needs one task on each node, but this process was not started by srun")


def _too_many(here: Allocation) -> SettingsError:
    several = f"trainer.nodes={here.nodes}" if here.nodes > 1 else "trainer.nodes=1"
    each = here.tasks // here.nodes
    devices = f" trainer.devices={each}" if each > 1 else ""
    return SettingsError(
        "trainer.nodes",
        value=1,
        rule=f"the run has one task, but srun started {here.tasks} ({here.nodes} nodes): all would train the same run",
        instead=f"{_lines(1)}\n  or, to use all of them for one run: {several}{devices}, with\n{_lines(here.nodes)}",
    )


def _refused(nodes: int, rule: str) -> SettingsError:
    instead = f"sbatch slurm/train.sbatch ... trainer.nodes={nodes}, or srun in your own script, with\n"
    return SettingsError("trainer.nodes", value=nodes, rule=rule, instead=instead + _lines(nodes))


def _lines(nodes: int) -> str:
    return f"    #SBATCH --nodes={nodes}\n    #SBATCH --ntasks-per-node=1"


def _said(given: Mapping[str, str]) -> str:
    names = ("SLURM_NNODES", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS")
    said = ", ".join(f"{name}={given[name]}" for name in names if name in given)
    return said or "one task"


def _number(given: Mapping[str, str], *names: str, default: int) -> int:
    for name in names:
        # SLURM writes some numbers as `2(x3)`; those read here are plain.
        if given.get(name, "").isdigit():
            return int(given[name])
    return default
