"""The Lightning trainer of a run, without the features that ternlab implements itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ternlab.core.errors import SettingsError
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.checkpoints import AtomicCheckpointIO
from ternlab.training.hardware import Choice
from ternlab.training.processes import Place


def build_trainer(
    settings: Settings,
    directory: RunDirectory,
    choice: Choice,
    callbacks: list[Callback],
    place: Place,
    *,
    strategy: str,
    validate: bool,
) -> pl.Trainer:
    """Return the Lightning trainer of a run, without the features that ternlab implements itself."""
    trainer = settings.trainer
    return pl.Trainer(
        accelerator="gpu" if choice.device == "cuda" else "cpu",
        devices=place.local_world_size,
        num_nodes=place.nodes,
        strategy=strategy,
        precision=lightning_precision(choice),
        max_epochs=trainer.max_epochs,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        gradient_clip_val=trainer.gradient_clip_val,
        limit_val_batches=1.0 if validate else 0,
        callbacks=callbacks,
        # Given explicitly, so that Lightning does not take over requeueing when it detects SLURM.
        plugins=[AtomicCheckpointIO(), place.environment()],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory.path,
    )


def lightning_precision(choice: Choice) -> Literal["bf16-mixed", "32-true"]:
    """Return Lightning's name for the precision."""
    return "bf16-mixed" if choice.precision == "bf16-mixed" else "32-true"


def strategy_name(place: Place, *, find_unused: bool) -> str:
    """Return Lightning's name of the strategy."""
    if place.world_size == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if find_unused else "ddp"


@contextlib.contextmanager
def unused_parameters_explained() -> Iterator[None]:
    """Say which setting helps when the parameters that a step uses change from step to step."""
    try:
        yield
    except RuntimeError as error:
        if "not used in producing the loss" not in str(error) and "finished reduction" not in str(error):
            raise
        raise SettingsError(
            "trainer.find_unused_parameters",
            value=False,
            rule="a step did not use every parameter of the network, and the processes wait for all gradients",
            instead="trainer.find_unused_parameters=true, with the same command otherwise; the run resumes",
        ) from error
