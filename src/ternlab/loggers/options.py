"""Settings of the loggers; free of torch."""

from __future__ import annotations

from typing import Literal

from ternlab.core.fields import Section


class LoggerSettings(Section):
    """Where metrics are also sent; the run's own files are always written.

    Attributes:
        name: `local` (nothing else), or a registered logger.
    """

    name: str = "local"


class WandbSettings(LoggerSettings):
    """Settings of `wandb`, and of `local`: a run that was trained with `logger=local` can be sent to W&B later.

    Attributes:
        project, entity, group: W&B options; the default group is the sweep, or else the baseline.
        mode: W&B mode; `auto` is online if there is an API key in the environment or netrc, else offline.
    """

    project: str = "ternlab"
    entity: str | None = None
    group: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"


class TensorboardSettings(LoggerSettings):
    """Settings of `tensorboard`.

    Attributes:
        dir: folder that contains one folder of event files per run (`None`: `tensorboard/` in the run directory).
    """

    dir: str | None = None


class MlflowSettings(LoggerSettings):
    """Settings of `mlflow`.

    Attributes:
        project: the MLflow experiment.
        uri: tracking URI (`None`: `MLFLOW_TRACKING_URI`, or else the SQLite file `mlflow.db` beside the folder of the
            runs).
    """

    project: str = "ternlab"
    uri: str | None = None


class TrackioSettings(LoggerSettings):
    """Settings of `trackio`; Trackio itself keeps its files in `TRACKIO_DIR`.

    Attributes:
        project: the Trackio project.
        group: group of the run (`None`: the sweep, or else the baseline).
    """

    project: str = "ternlab"
    group: str | None = None


def wandb_settings(chosen: LoggerSettings) -> WandbSettings:
    """Return the W&B options of a run; the defaults if it was trained with another logger."""
    return chosen if isinstance(chosen, WandbSettings) else WandbSettings()
