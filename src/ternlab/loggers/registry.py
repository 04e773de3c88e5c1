"""Registry of the loggers and their settings; free of torch, and of the packages that loggers need."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.core.by_name import checked_by_name
from ternlab.core.errors import SettingsError
from ternlab.core.registry import Registry, checked_reference
from ternlab.loggers.options import (
    LoggerSettings,
    MlflowSettings,
    TensorboardSettings,
    TrackioSettings,
    WandbSettings,
)


@dataclass(frozen=True)
class LoggerEntry:
    """A registry entry for a logger.

    Attributes:
        title: its name in messages (`W&B`).
        settings: the class that checks `logger.*`.
        mirror: `"package.module:function"` of `open_mirror(settings, directory) -> Mirror` (see
            `ternlab.loggers.mirror`); `None` if the run's own files are all there is.
        packages: packages that it imports, which must be installed.
        extra: the extra of ternlab that installs them.
        later: the command that sends a run later.
    """

    title: str
    settings: type[LoggerSettings]
    mirror: str | None
    packages: tuple[str, ...] = ()
    extra: str | None = None
    later: str = "ternlab sync"

    def __str__(self) -> str:
        return self.mirror or self.title


LOGGERS: Registry[LoggerEntry] = Registry(
    "logger",
    "logger.name",
    {
        "local": LoggerEntry("the run's own files", WandbSettings, None),
        "wandb": LoggerEntry(
            "W&B", WandbSettings, "ternlab.loggers.wandb.mirror:WandbMirror", ("wandb",), later="ternlab wandb sync"
        ),
        "tensorboard": LoggerEntry(
            "TensorBoard",
            TensorboardSettings,
            "ternlab.loggers.tensorboard:TensorboardMirror",
            ("tensorboard",),
            "tensorboard",
        ),
        "mlflow": LoggerEntry(
            "MLflow",
            MlflowSettings,
            "ternlab.loggers.mlflow:MlflowMirror",
            ("mlflow",),
            "mlflow",
        ),
        "trackio": LoggerEntry("Trackio", TrackioSettings, "ternlab.loggers.trackio:TrackioMirror", ("trackio",)),
    },
)


def register_logger(
    name: str,
    mirror: str,
    *,
    title: str | None = None,
    settings: type[LoggerSettings] = LoggerSettings,
    packages: tuple[str, ...] = (),
) -> None:
    """Register a logger under `name`; for the arguments see `LoggerEntry`. The default title is the name.

    Raises:
        ValueError: the name is taken by another logger, or `mirror` has no colon.
    """
    LOGGERS.register(name, LoggerEntry(title or name, settings, checked_reference("mirror", mirror), packages))


def logger_settings(values: Mapping[str, Any] | LoggerSettings) -> LoggerSettings:
    """Check `logger.*` with the class that the logger registered (see `checked_by_name`).

    Raises:
        SettingsError: the logger is unknown, does not have an option, or a value is out of range.
    """
    return checked_by_name(LOGGERS, LoggerSettings, values, "logger")


def check_logger(chosen: LoggerSettings) -> None:
    """Raise SettingsError if a package that the logger needs is not installed."""
    entry = LOGGERS.entry(chosen.name)
    for package in entry.packages:
        if importlib.util.find_spec(package) is None:
            remedy = f"pip install 'ternlab[{entry.extra}]'" if entry.extra else f"pip install {package}"
            raise SettingsError(
                "logger",
                value=chosen.name,
                rule=f"{package} is not installed",
                instead=f"{remedy}, or logger=local (the default)",
            )
