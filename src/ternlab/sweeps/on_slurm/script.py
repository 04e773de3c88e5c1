"""The text of a batch file for `sbatch`, made by submitit from checked settings."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ternlab.core.errors import SettingsError
from ternlab.sweeps.on_slurm.batches import Place, batch_file, batches_folder
from ternlab.sweeps.on_slurm.settings import SlurmCluster

_SUBMITTED = "Submitted batch job"


def script(
    cluster: SlurmCluster,
    folder: Path,
    name: str,
    count: int,
    after: Sequence[str] = (),
    python: str | None = None,
) -> str:
    """Return the batch file for an array of runs.

    Args:
        cluster: resources of each run.
        folder: of the sweep.
        name: of the job, `<sweep id>.<token>`.
        count: of the runs.
        after: ids of the array tasks that must have ended well before.
        python: program; default: the one that runs this.
    """
    file = batch_file(folder.absolute(), name.rpartition(".")[2])
    command = ["exec", python or sys.executable, "-u", "-m", "ternlab.sweeps.on_slurm.task", str(file)]
    executor = _executor(batches_folder(folder))
    executor.update_parameters(**_parameters(cluster, folder.absolute(), name, after))
    executor.parameters["map_count"] = count
    text: str = executor._make_submission_file_text(shlex.join(command), name)
    return text


def job_id(output: str) -> str | None:
    """Return the job's id in what sbatch has printed; `None` when there is none."""
    # Sites let sbatch print other lines too, with numbers of their own.
    (*_, line) = ["", *(line for line in output.splitlines() if line.startswith(_SUBMITTED))]
    if not re.fullmatch(rf"{_SUBMITTED} \d+.*", line):
        return None
    from submitit import SlurmExecutor

    found: str = SlurmExecutor._get_job_id_from_submission_command(line)
    return found


def log_file(folder: Path, job: str, index: int | str) -> Path:
    """Return what a job prints before Python runs, and what SLURM says of its end."""
    return batches_folder(folder) / f"{job}_{index}.txt"


def place_of(cluster: SlurmCluster) -> Place:
    """Return what each run gets; on each node one process for each GPU."""
    processes = cluster.gpus_per_node or cluster.processes_per_node
    accelerator = "gpu" if cluster.gpus_per_node else None
    return Place(max(1, cluster.cpus_per_task // processes), processes, cluster.nodes, accelerator)


def check_path(folder: Path) -> None:
    """Refuse a folder that a batch file cannot name.

    Raises:
        SettingsError: its name has a line's end, another control character, or a backslash.
    """
    if any(ord(letter) < 32 or letter in "\\\x7f" for letter in str(folder.absolute())):
        raise SettingsError(
            "paths.sweeps",
            value=repr(str(folder)),
            rule="a batch file of SLURM cannot name this folder (a line's end, a control character or a backslash)",
            instead="paths.sweeps=FOLDER, with another name",
        )


def _executor(folder: Path) -> Any:
    from submitit import SlurmExecutor

    class Executor(SlurmExecutor):  # type: ignore[misc, unused-ignore]
        """submitit's, where there is no SLURM too: for `dry_run`."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    return Executor(folder)


def _parameters(cluster: SlurmCluster, folder: Path, name: str, after: Sequence[str]) -> dict[str, Any]:
    words = {key: getattr(cluster, key) for key in ("partition", "account", "qos", "constraint")}
    more: dict[str, Any] = {
        # SLURM puts the job's number and others in place of a % and a letter.
        "output": f"{batches_folder(Path(str(folder).replace('%', '%%')))}/%A_%a.txt",
        "requeue": True,
        # submitit's own can be changed by a variable of the environment.
        "signal": f"USR2@{cluster.signal_seconds}",
        # Of the environment in which it was submitted, without the variables of SLURM itself.
        "export": "ALL",
    }
    if after:
        more |= {"dependency": f"afterok:{':'.join(after)}", "kill-on-invalid-dep": "yes"}
    given = {
        **words,
        "gpus_per_node": cluster.gpus_per_node,
        "mem": None if cluster.mem_gb is None else f"{cluster.mem_gb}GB",
        "setup": list(cluster.setup) or None,
    }
    return {
        "job_name": name,
        "time": cluster.time,
        "nodes": cluster.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cluster.cpus_per_task,
        "array_parallelism": cluster.array_parallelism,
        "wckey": None,
        "stderr_to_stdout": True,
        "use_srun": False,
        "additional_parameters": more,
        **{key: value for key, value in given.items() if value is not None},
    }
