"""The whole of a run's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from ternlab.core.fields import NonNegativeInt, Section, free
from ternlab.data.settings import DataSettings
from ternlab.models.registry import model_settings
from ternlab.models.settings import ModelSettings
from ternlab.optimizers.registry import optim_settings
from ternlab.optimizers.settings import OptimSettings
from ternlab.settings.algorithm import AlgorithmSettings
from ternlab.settings.objectives import TermSettings
from ternlab.settings.quant import QuantSettings
from ternlab.settings.trainer import CheckpointSettings, TrainerSettings


class BaselineSettings(Section):
    """The full-precision twin of a quantized run.

    Attributes:
        run: id of an existing run to use as the twin (`None`: the run of the same recipe and seed).
        overrides: settings in which the twin's recipe differs, as they are typed (`[optim.lr=0.1]`).
    """

    run: str | None = None
    overrides: tuple[str, ...] = ()


class LoggerSettings(Section):
    """Where metrics are mirrored; the run's own files are always written.

    Attributes:
        name: `local` (nothing else) or `wandb`.
        project, entity, group: of W&B; the default group is the sweep, else the baseline.
        mode: of W&B; `auto` is online with a key in the environment or netrc, else offline.
    """

    name: Literal["local", "wandb"] = "local"
    project: str = "ternlab"
    entity: str | None = None
    group: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"


class PathSettings(Section):
    """Folders; relative ones are taken from where the command is typed.

    Attributes:
        runs: holds one folder for each run.
        data: downloaded data sets.
        sweeps: plans and records of sweeps.
    """

    runs: str = "logs/runs"
    data: str = "data"
    sweeps: str = "logs/sweeps"


class Settings(Section):
    """Everything that a run is a function of, and how it is carried out.

    Attributes:
        objectives: loss terms beside those of the algorithm; in the configuration a mapping from their names.
        seed: of initialization, order and augmentation; 0 is a seed like any other.
        ckpt_path: checkpoint of the same network to go on from, when the run has none of its own yet.
        force: move an existing run of the same id aside and start afresh.
        tags: free words for W&B and the record.
        plugins: modules to import first; what they register is in the id by its name.
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
    logger: LoggerSettings = free(LoggerSettings())
    paths: PathSettings = free(PathSettings())
    ckpt_path: str | None = None
    force: bool = free(False)
    tags: tuple[str, ...] = free(())
    plugins: tuple[str, ...] = free(())
