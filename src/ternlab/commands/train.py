"""The training command: train the run of a configuration and print its results."""

from __future__ import annotations

import logging
from typing import Any

from ternlab.core.errors import ExitCode
from ternlab.runs import provenance
from ternlab.runs.table import print_table
from ternlab.settings.load import settings_from_config
from ternlab.training.train_run import followed, train_run

_log = logging.getLogger(__name__)


def main(config: dict[str, Any]) -> ExitCode:
    """Train the run of a resolved configuration, or report that it is finished; print its table."""
    settings = settings_from_config(config)
    directory, trained = train_run(settings, provenance.command())
    if followed(settings) is not None:
        return ExitCode.DONE
    if not trained:
        _log.info("this run is already finished (force=true retrains it)")
    print_table(directory)
    return ExitCode.DONE
