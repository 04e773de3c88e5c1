"""The attempts of a run: where each one began, and a job that is requeued again and again without a step."""

from __future__ import annotations

from typing import Any

from ternlab.core.clock import now
from ternlab.core.errors import TernlabError
from ternlab.runs import provenance
from ternlab.runs.checkpoint_files import last_written_step
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import Status
from ternlab.slurm.allocation import allocation

Attempt = dict[str, Any]

# So often may a SLURM job begin the training of a run at the same step; a preemption or two are bad luck.
MOST_WITHOUT_A_STEP = 3


class NoProgressError(TernlabError):
    """A job was requeued again and again, and the run never got further."""


def new_attempt() -> Attempt:
    """Return an attempt that begins now; `step` is filled in when the training itself begins.

    Until then a quantized run may wait hours for its baseline, whose progress is in the baseline's own record.
    """
    here = allocation()
    return {"started": now(), "host": provenance.host()["name"], "job": here.job if here else None, "step": None}


def begin_training(attempts: list[Attempt], directory: RunDirectory) -> None:
    """Fill in where the last of `attempts` begins.

    Raises:
        NoProgressError: the last three before it, of the same SLURM job, began there too.
    """
    *before, attempt = attempts
    attempt["step"] = step = last_written_step(directory.checkpoints)
    job = attempt["job"]
    if job is None:
        return
    # Those that were stopped before their training began tell nothing about it; one that failed was not requeued.
    same = [
        one
        for one in before
        if one.get("job") == job and one.get("step") is not None and one.get("status") != Status.FAILED
    ]
    last = same[-MOST_WITHOUT_A_STEP:]
    if len(last) == MOST_WITHOUT_A_STEP and all(one["step"] == step for one in last):
        raise NoProgressError(
            f"Job {job} was requeued {MOST_WITHOUT_A_STEP} times without progress: each time training started at step "
            f"{step} and saved no newer checkpoint.\n"
            "  instead: a longer time limit (#SBATCH --time), or checkpoint.every_steps=N with a smaller N; "
            "then resubmit the job (sbatch)"
        )
