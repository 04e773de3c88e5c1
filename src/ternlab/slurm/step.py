"""The training step of a job: one task on each node, with all of the job's resources on that node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ternlab.slurm.allocation import Allocation

# Options given to `sbatch` about tasks; srun would read them from the environment and divide the GPUs accordingly.
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
    """Return the `srun` command that starts `command` once on each node of a job.

    Args:
        here: the job.
        command: program and arguments; not interpreted by a shell.
        environment: environment of the job script.
    """
    options = [
        f"--nodes={here.nodes}",
        f"--ntasks={here.nodes}",
        "--ntasks-per-node=1",
        # If one task fails, the others must not keep waiting for it.
        "--kill-on-bad-exit=1",
        # torchrun connects the processes.
        "--mpi=none",
        # With `sbatch --export=NONE` the tasks would otherwise not inherit the script's environment.
        "--export=ALL",
    ]
    cpus = cpus_of_node(environment)
    if cpus:
        # Since 22.05 srun does not inherit this from sbatch and would give the task one CPU.
        options.append(f"--cpus-per-task={cpus}")
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    if gpus.isdigit() and int(gpus) > 0:
        options.append(f"--gpus-per-node={gpus}")
    return ["srun", *options, "--", *command]


def step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for `srun`, without variables that contradict the options of `step_command`."""
    return {name: value for name, value in environment.items() if name not in _PER_TASK}


def cpus_of_node(environment: Mapping[str, str]) -> int | None:
    """Return the job's number of CPUs per node (the minimum over its nodes), or `None` if unknown."""
    given = environment.get("SLURM_CPUS_PER_TASK", "")
    if given.isdigit() and re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_TASKS_PER_NODE", "")):
        return int(given)
    # For example `8(x2),4`.
    each = re.sub(r"\(x\d+\)", "", environment.get("SLURM_JOB_CPUS_PER_NODE", "")).split(",")
    return min((int(one) for one in each if one.isdigit()), default=None)
