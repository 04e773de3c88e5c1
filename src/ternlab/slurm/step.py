"""The step of a job that trains: one task on each node, which sees all that the job has there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ternlab.slurm.allocation import Allocation

# What `sbatch` was told about several tasks a node; srun would read it from here and divide the GPUs by it.
_PER_TASK = (
    "SLURM_GPUS_PER_TASK",
    "SLURM_NTASKS_PER_GPU",
    "SLURM_NTASKS_PER_SOCKET",
    "SLURM_NTASKS_PER_CORE",
    "SLURM_TRES_PER_TASK",
    "SLURM_GPUS",
    "SLURM_GPU_BIND",
)


def step_command(here: Allocation, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the `srun` that starts `command` once on each node of a job.

    Args:
        here: the job.
        command: program and arguments, which no shell reads.
        environment: of the job's script.
    """
    options = [
        f"--nodes={here.nodes}",
        f"--ntasks={here.nodes}",
        "--ntasks-per-node=1",
        # One task that fails must not leave the others waiting for it.
        "--kill-on-bad-exit=1",
        # The processes find each other with torchrun.
        "--mpi=none",
        # With `sbatch --export=NONE` the tasks would not get what the script has set.
        "--export=ALL",
    ]
    cpus = cpus_of_node(environment)
    if cpus:
        # srun does not take it over from sbatch (since 22.05) and would give the task one CPU.
        options.append(f"--cpus-per-task={cpus}")
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    if gpus.isdigit() and int(gpus) > 0:
        options.append(f"--gpus-per-node={gpus}")
    return ["srun", *options, "--", *command]


def step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for `srun`, without what would contradict the options of `step_command`."""
    return {name: value for name, value in environment.items() if name not in _PER_TASK}


def cpus_of_node(environment: Mapping[str, str]) -> int | None:
    """Return the CPUs that the job has on each of its nodes: of the node that has the fewest, `None` if unknown."""
    given = environment.get("SLURM_CPUS_PER_TASK", "")
    if given.isdigit() and re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_TASKS_PER_NODE", "")):
        return int(given)
    # Such as `8(x2),4`.
    each = re.sub(r"\(x\d+\)", "", environment.get("SLURM_JOB_CPUS_PER_NODE", "")).split(",")
    return min((int(one) for one in each if one.isdigit()), default=None)
