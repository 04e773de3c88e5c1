"""The training command: settings in, a finished run and its table out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ternlab.errors import ExitCode
from ternlab.runs import provenance
from ternlab.runs.directory import RunDirectory
from ternlab.runs.lifecycle import complete
from ternlab.runs.table import print_table
from ternlab.settings.load import settings_from_config
from ternlab.settings.root import Settings
from ternlab.training.signals import StopRequest

Metrics = dict[str, float]
Facts = dict[str, Any]

_log = logging.getLogger(__name__)


def main(config: dict[str, Any]) -> ExitCode:
    """Train the run of a resolved configuration, or say that it is finished; print its table."""
    directory, trained = train_run(settings_from_config(config), provenance.command())
    if not trained:
        _log.info("this run is finished already (force=true trains it afresh)")
    print_table(directory)
    return ExitCode.DONE


def train_run(settings: Settings, command: str) -> tuple[RunDirectory, bool]:
    """Train a run, and its baseline first, to the end; return its folder and whether there was anything to do.

    Args:
        settings: of the run.
        command: what a person types to go on; kept in the record.
    """
    trained: list[str] = []

    def train(settings: Settings, directory: RunDirectory, start: Path | None) -> tuple[Metrics, Facts]:
        trained.append(directory.run_id)
        _log.info("run %s", directory.run_id)
        return _train(settings, directory, start, stop)

    with StopRequest() as stop:
        directory = complete(settings, command, train, stop, _check_layers)
    return directory, bool(trained)


def _check_layers(settings: Settings) -> None:
    # Deferred, as below.
    from ternlab.training.network import check_layers

    check_layers(settings)


def _train(settings: Settings, directory: RunDirectory, start: Path | None, stop: StopRequest) -> tuple[Metrics, Facts]:
    # Deferred: importing torch and Lightning takes seconds, which a finished run or a typo must not pay.
    from ternlab.logs import quiet_libraries
    from ternlab.training.launch import train_in_processes
    from ternlab.training.processes import Place
    from ternlab.training.running import train_here

    quiet_libraries()
    if settings.trainer.devices > 1:
        result = train_in_processes(settings, directory, start, stop)
        return result["metrics"], result["facts"]
    outcome = train_here(settings, directory, start, Place(), stop)
    return outcome.metrics, outcome.facts
