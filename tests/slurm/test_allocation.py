"""What SLURM says in the environment, with environments as SLURM 22.05 has set them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.slurm.allocation import allocation, check_tasks, leave_step
from tests.commands.run_command import ROOT

BATCH = {
    "SLURM_JOB_ID": "7",
    "SLURM_NNODES": "2",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_TASKS_PER_NODE": "1(x2)",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_PROCID": "0",
    "SLURM_NODEID": "0",
}


def step(tasks: int, nodes: int, process: int = 0, **more: str) -> dict[str, str]:
    """Return the environment of a task that srun has started."""
    names = {"SLURM_STEP_NUM_TASKS": tasks, "SLURM_STEP_NUM_NODES": nodes, "SLURM_NTASKS": tasks, "SLURM_NNODES": nodes}
    numbers = {name: str(value) for name, value in names.items()}
    return {**BATCH, **numbers, "SLURM_STEP_ID": "0", "SLURM_STEPID": "0", "SLURM_PROCID": str(process), **more}


SALLOC = {key: value for key, value in BATCH.items() if key not in ("SLURM_PROCID", "SLURM_NODEID")}
# Sites where salloc gives its shell a step of its own.
INTERACTIVE = {**step(1, 1), "SLURM_STEP_ID": "4294967290", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}


def test_outside_of_slurm_there_is_no_job() -> None:
    assert allocation({}) is None
    assert allocation({"SLURM_CONF": "/etc/slurm.conf", "SLURM_JOB_ID": ""}) is None


def test_a_task_knows_its_place() -> None:
    here = allocation(step(2, 2, process=1, SLURM_NODEID="1", SLURM_RESTART_COUNT="3"))
    assert here is not None
    assert (here.job_id, here.job, here.restarts) == ("7", "7", 3)
    assert (here.nodes, here.tasks, here.node, here.process, here.step) == (2, 2, 1, 1, "0")
    assert here.nodelist == "n[1-2]"


def test_an_array_has_the_name_that_scontrol_takes_beside_the_id() -> None:
    here = allocation({**BATCH, "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"})
    assert here is not None
    assert (here.job, here.job_id, here.step) == ("5_3", "7", None)


def test_a_step_is_smaller_than_its_job() -> None:
    here = allocation({**step(1, 1), "SLURM_JOB_NUM_NODES": "4", "SLURM_NNODES": "4", "SLURM_NTASKS": "16"})
    assert here is not None and (here.nodes, here.tasks) == (1, 1)


@pytest.mark.parametrize(
    ("nodes", "environment"),
    [
        (1, {}),
        (1, BATCH),
        (1, SALLOC),
        (1, INTERACTIVE),
        (1, step(1, 1)),
        (2, step(2, 2)),
        (2, step(2, 2, process=1)),
        (4, step(4, 4)),
        # The job's own number of tasks does not count where srun was told another.
        (2, step(2, 2, SLURM_NTASKS_PER_NODE="8")),
    ],
)
def test_what_fits_is_not_refused(nodes: int, environment: dict[str, str]) -> None:
    check_tasks(nodes, environment)


@pytest.mark.parametrize(
    ("nodes", "environment", "said"),
    [
        (2, {}, "needs a SLURM job"),
        (2, BATCH, "not started by srun"),
        (2, SALLOC, "not started by srun"),
        (2, INTERACTIVE, "SLURM_STEP_NUM_TASKS=1"),
        (2, step(1, 1), "SLURM_NTASKS=1"),
        (2, step(4, 2), "SLURM_NTASKS=4"),
        (2, step(8, 2, SLURM_NTASKS_PER_NODE="4"), "SLURM_NTASKS_PER_NODE=4"),
        (2, step(2, 1), "SLURM_NNODES=1"),
        (2, step(3, 3), "SLURM_NNODES=3"),
        (2, {**BATCH, "SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8"}, "SLURM_NTASKS_PER_NODE=8"),
    ],
)
def test_what_does_not_fit_several_nodes_is_refused_with_the_lines(
    nodes: int, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        check_tasks(nodes, environment)
    assert error.value.exit_code == ExitCode.BAD_SETTINGS
    message = str(error.value)
    assert said in message and "trainer.nodes" in message
    assert f"    #SBATCH --nodes={nodes}\n    #SBATCH --ntasks-per-node=1" in message


def test_one_run_in_several_tasks_of_one_node_is_refused_with_both_ways_out() -> None:
    with pytest.raises(SettingsError, match="srun started 4") as error:
        check_tasks(1, step(4, 1))
    assert "#SBATCH --nodes=1\n    #SBATCH --ntasks-per-node=1" in str(error.value)
    assert "trainer.nodes=1 trainer.devices=4" in str(error.value)


def test_one_run_in_several_tasks_of_several_nodes_is_refused_with_both_ways_out() -> None:
    with pytest.raises(SettingsError, match="srun started 8") as error:
        check_tasks(1, step(8, 2))
    assert "trainer.nodes=2 trainer.devices=4" in str(error.value)
    assert "#SBATCH --nodes=2\n    #SBATCH --ntasks-per-node=1" in str(error.value)


def test_who_leaves_the_step_may_start_runs_of_its_own() -> None:
    environment = step(2, 2, process=1)
    leave_step(environment)
    check_tasks(1, environment)
    assert environment["SLURM_JOB_ID"] == "7"


def test_torch_is_not_imported() -> None:
    modules = "ternlab.slurm.allocation, ternlab.slurm.job, ternlab.slurm.state, ternlab.training.rendezvous, "
    code = f"import sys, {modules} ternlab.commands.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
