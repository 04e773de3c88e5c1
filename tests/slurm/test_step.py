"""The srun command of a job's step."""

from __future__ import annotations

from typing import Any

import pytest

from ternlab.slurm.allocation import allocation
from ternlab.slurm.step import cpus_of_node, step_command, step_environment


def command(**environment: str) -> list[str]:
    given = {"SLURM_JOB_ID": "1", **environment}
    here = allocation(given)
    assert here is not None
    return step_command(here, ["python", "a b", "$(x)"], given)


def test_one_task_on_each_node_with_all_that_the_job_has_there() -> None:
    found = command(SLURM_NNODES="2", SLURM_GPUS_ON_NODE="4", SLURM_JOB_CPUS_PER_NODE="16(x2)", SLURM_NTASKS="2")
    options, words = found[1 : found.index("--")], found[found.index("--") + 1 :]
    assert found[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"} <= set(options)
    assert {"--gpus-per-node=4", "--cpus-per-task=16", "--export=ALL"} <= set(options)
    assert words == ["python", "a b", "$(x)"]


def test_without_gpus_none_are_asked_for() -> None:
    assert not any("gpu" in word for word in command())
    assert not any("gpu" in word for word in command(SLURM_GPUS_ON_NODE="0"))


@pytest.mark.parametrize(
    ("environment", "cpus"),
    [
        ({}, None),
        ({"SLURM_JOB_CPUS_PER_NODE": "8(x2),4"}, 4),
        ({"SLURM_JOB_CPUS_PER_NODE": "3,1"}, 1),
        ({"SLURM_JOB_CPUS_PER_NODE": "16(x2)", "SLURM_CPUS_PER_TASK": "8", "SLURM_TASKS_PER_NODE": "1(x2)"}, 8),
        # Several tasks a node were asked for: the one that is started gets the CPUs of all.
        ({"SLURM_JOB_CPUS_PER_NODE": "16", "SLURM_CPUS_PER_TASK": "4", "SLURM_TASKS_PER_NODE": "4"}, 16),
    ],
)
def test_cpus(environment: dict[str, Any], cpus: int | None) -> None:
    assert cpus_of_node(environment) == cpus


def test_what_would_divide_the_gpus_is_not_passed_on() -> None:
    assert step_environment({"SLURM_GPUS_PER_TASK": "1", "SLURM_NTASKS_PER_GPU": "1", "A": "b"}) == {"A": "b"}
