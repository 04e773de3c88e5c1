"""`ternlab sync`: send runs to TensorBoard, MLflow or Trackio, from the runs' own files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ternlab.core.errors import ExitCode, SettingsError, StorageError, did_you_mean
from ternlab.loggers.options import LoggerSettings
from ternlab.loggers.registry import LOGGERS, check_logger, logger_settings
from ternlab.loggers.sync import send_run
from ternlab.runs.directory import ASIDE, RunDirectory, existing_run, run_directory

_SYNC = "ternlab sync"

Chosen = tuple[RunDirectory, LoggerSettings]


def sync(chosen: argparse.Namespace) -> ExitCode:
    """Send the chosen runs one by one, and print the outcome of each.

    Raises:
        SettingsError: the choice of runs is ambiguous, there is no such run or logger, or a package is not installed.
    """
    typed = [word for word in chosen.words if "=" in word]
    named = [word for word in chosen.words if "=" not in word]
    if bool(named) == chosen.all:
        raise SettingsError(_SYNC, rule="takes either run IDs or --all", instead=f"{_SYNC} RUN ..., or {_SYNC} --all")
    if chosen.all:
        wanted = list(_mirrored(chosen.runs, typed))
    else:
        runs = {one.path: one for one in (existing_run(chosen.runs, name) for name in named)}
        wanted = [(one, _logger(one, typed)) for one in runs.values()]
    for logger in {logger for _, logger in wanted}:
        check_logger(logger)
    sent = [_send(directory, logger) for directory, logger in wanted]
    if not sent:
        print("no run was trained with one of these loggers")
    return ExitCode.DONE if all(sent) else ExitCode.FAILED


def _send(directory: RunDirectory, logger: LoggerSettings) -> bool:
    """Send a run, print the outcome, and return whether it was sent or must not be sent now."""
    if directory.lock().held():
        print(f"{directory.run_id}: still training", flush=True)
        return True
    title = LOGGERS.entry(logger.name).title
    try:
        epochs = send_run(directory, logger)
    except Exception as error:  # noqa: BLE001 - whatever a mirror raises, the other runs are sent
        print(f"{directory.run_id}: failed: {' '.join(str(error).split()) or type(error).__name__}", flush=True)
        return False
    print(f"{directory.run_id}: {title} has all {epochs} epochs", flush=True)
    return True


def _logger(directory: RunDirectory, typed: Sequence[str]) -> LoggerSettings:
    """Return the logger that was typed, or else that of the run, with the options that were typed."""
    own: dict[str, Any] = dict(directory.config().get("logger") or {})
    options = dict(map(_option, typed))
    name = options.get("name", own.get("name", "local"))
    if not _served(name):
        rule = f"{_SYNC} does not send runs there"
        instead = did_you_mean(name, filter(_served, LOGGERS))
        if name in LOGGERS:
            other = f"{LOGGERS[name].later} {directory.run_id}, or " if LOGGERS[name].mirror is not None else ""
            instead = f"{other}{_SYNC} {directory.run_id} logger=tensorboard"
        raise SettingsError("logger", value=name, rule=rule, instead=instead)
    # The options of another logger do not apply.
    return logger_settings({**(own if own.get("name") == name else {}), **options})


def _served(name: str) -> bool:
    """Return whether this command sends runs to the logger."""
    return name in LOGGERS and LOGGERS[name].mirror is not None and LOGGERS[name].later == _SYNC


def _option(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    if name == "logger":
        name = "logger.name"
    if not name.startswith("logger."):
        rule, instead = "is not an option of a logger", "logger=NAME or logger.OPTION=VALUE"
        raise SettingsError(name, value=text, rule=rule, instead=instead)
    return name.removeprefix("logger."), yaml.safe_load(text)


def _mirrored(runs: Path, typed: Sequence[str]) -> Iterator[Chosen]:
    """Yield the runs that were trained with a logger that this command serves; all runs if one was typed."""
    if not runs.is_dir():
        raise SettingsError("--runs", value=str(runs), rule="is not a folder", instead="--runs FOLDER")
    anywhere = any(word.startswith(("logger=", "logger.name=")) for word in typed)
    for path in sorted(runs.glob("*/record.json")):
        directory = run_directory(runs, path.parent.name)
        try:
            name = str((directory.config().get("logger") or {}).get("name"))
        except (SettingsError, StorageError):
            continue
        if ASIDE not in directory.run_id and (anywhere or _served(name)):
            yield directory, _logger(directory, typed)
