"""Settings of the training loop, the hardware and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ternlab.core.fields import NonNegativeInt, PositiveFloat, PositiveInt, Section, free


class TrainerSettings(Section):
    """How long to train, and on which hardware.

    Attributes:
        max_epochs: epochs of training; 0 only evaluates.
        accumulate_grad_batches: batches whose gradients form one step (not with `quant.update=sequential`).
        gradient_clip_val: maximum norm of all gradients together (`None`: no clipping).
        precision: `32`, `bf16-mixed`, or `auto` (chosen for the machine; the reason is printed).
        channels_last: whether images and weights use the channels_last memory format; `auto` chooses.
        accelerator, devices: `devices` is per node; with more than one, each has its own process (DDP).
        nodes: nodes of a SLURM job, with `devices` processes on each; the command must run once per node
            (slurm/train.sbatch).
        find_unused_parameters: with several processes, look in every step for parameters that the step did not use.
            Parameters that no step uses are found without it, before the first step.
        threads: CPU threads per process (`None`: torch's default).
        progress: `rich` for a progress bar, `plain` for lines, or `auto`.
    """

    max_epochs: NonNegativeInt = 6
    accumulate_grad_batches: PositiveInt = 1
    gradient_clip_val: PositiveFloat | None = None
    precision: Literal["auto", "32", "bf16-mixed"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    accelerator: Literal["auto", "cpu", "gpu"] = free("auto")
    devices: PositiveInt = free(1)
    nodes: PositiveInt = free(1)
    find_unused_parameters: bool = free(False)
    threads: PositiveInt | None = free(None)
    progress: Literal["auto", "rich", "plain"] = free("auto")

    @field_validator("precision", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        """Accept `trainer.precision=32`, which the command line parses as a number."""
        return str(value) if isinstance(value, int) else value


class CheckpointSettings(Section):
    """When checkpoints are saved; none of this changes the result.

    Attributes:
        every_steps: optimizer steps between two checkpoints (`None`: only at the end of each epoch).
        keep: how many complete checkpoints to keep; at least 2, so that a damaged one has a predecessor.
    """

    every_steps: PositiveInt | None = free(None)
    keep: Annotated[int, Field(ge=2)] = free(2)
