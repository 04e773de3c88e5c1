"""The complete settings of a run."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny

from ternlab.core.fields import NonNegativeInt, Section, free, free_section
from ternlab.core.user_files import default_path
from ternlab.data.settings import DataSettings
from ternlab.loggers.options import LoggerSettings
from ternlab.loggers.registry import logger_settings
from ternlab.models.registry import model_settings
from ternlab.models.settings import ModelSettings
from ternlab.optimizers.registry import optim_settings
from ternlab.optimizers.settings import OptimSettings
from ternlab.settings.algorithm import AlgorithmSettings
from ternlab.settings.objectives import TermSettings
from ternlab.settings.quant import QuantSettings
from ternlab.settings.trainer import CheckpointSettings, TrainerSettings


class BaselineSettings(Section):
    """The full-precision baseline of a quantized run.

    Attributes:
        run: id of an existing run to use as the baseline (`None`: the run with the same recipe and seed).
        overrides: overrides that change the baseline's recipe, as typed on the command line (`[optim.lr=0.1]`).
    """

    run: str | None = None
    overrides: tuple[str, ...] = ()


class PathSettings(Section):
    """Folders; relative paths start from the current working directory.

    The defaults are `logs/runs`, `data` and `logs/sweeps`, unless the user has others (see `ternlab.core.user_files`).

    Attributes:
        runs: contains one directory per run.
        data: downloaded data sets.
        sweeps: plans and records of sweeps.
    """

    runs: str = Field(default_factory=partial(default_path, "runs"))
    data: str = Field(default_factory=partial(default_path, "data"))
    sweeps: str = Field(default_factory=partial(default_path, "sweeps"))


class Settings(Section):
    """Everything that determines a run's result, and how the run is executed.

    Attributes:
        objectives: loss terms in addition to the algorithm's own; in the configuration, a mapping by name.
        seed: seed of initialization, data order and augmentation; 0 is a seed like any other.
        ckpt_path: checkpoint of the same network to resume from if the run has no checkpoint of its own yet.
        force: move an existing run with the same ID aside and start over.
        tags: free-form words for W&B and the record.
        plugins: modules to import first; what they register is part of the run ID by its name.
    """

    seed: NonNegativeInt = 0
    model: Annotated[SerializeAsAny[ModelSettings], BeforeValidator(model_settings)] = Field(
        default_factory=lambda: model_settings({})
    )
    data: DataSettings = Field(default_factory=DataSettings)
    quant: QuantSettings = Field(default_factory=QuantSettings)
    algorithm: AlgorithmSettings = Field(default_factory=AlgorithmSettings)
    objectives: tuple[TermSettings, ...] = ()
    optim: Annotated[SerializeAsAny[OptimSettings], BeforeValidator(optim_settings)] = Field(
        default_factory=lambda: optim_settings({})
    )
    trainer: TrainerSettings = Field(default_factory=TrainerSettings)
    baseline: BaselineSettings = Field(default_factory=BaselineSettings)
    checkpoint: CheckpointSettings = free(CheckpointSettings())
    logger: Annotated[SerializeAsAny[LoggerSettings], BeforeValidator(logger_settings)] = free(logger_settings({}))
    paths: PathSettings = free_section(PathSettings)
    ckpt_path: str | None = None
    force: bool = free(False)
    tags: tuple[str, ...] = free(())
    plugins: tuple[str, ...] = free(())
