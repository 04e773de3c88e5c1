"""The attempts of a run: where each started, and detection of a job that is requeued repeatedly without progress."""

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

# How many times a SLURM job may start training a run at the same step; a preemption or two can be bad luck.
MOST_WITHOUT_A_STEP = 3


class NoProgressError(TernlabError):
    """A job was requeued repeatedly, and the run made no progress."""


def new_attempt() -> Attempt:
    """Return an attempt that starts now; `step` is filled in when the training itself starts.

    Until then a quantized run may wait hours for its baseline, whose progress is in the baseline's own record.
    """
    here = allocation()
    return {"started": now(), "host": provenance.host()["name"], "job": here.job if here else None, "step": None}


def begin_training(attempts: list[Attempt], directory: RunDirectory) -> None:
    """Fill in the step at which the last of `attempts` starts.

    Raises:
        NoProgressError: the previous three attempts of the same SLURM job started there too.
    """
    *before, attempt = attempts
    attempt["step"] = step = last_written_step(directory.checkpoints)
    job = attempt["job"]
    if job is None:
        return
    # Attempts stopped before their training started say nothing about progress; a failed one was not requeued.
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
