"""Send a run to a mirror after its training, from the run's own files."""

from __future__ import annotations

from ternlab.core.registry import imported
from ternlab.loggers.history import history_of
from ternlab.loggers.mirror import Mirror
from ternlab.loggers.options import LoggerSettings
from ternlab.loggers.registry import LOGGERS
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import Status


def send_run(directory: RunDirectory, chosen: LoggerSettings) -> int:
    """Send what the mirror does not have of a run, and return the number of epochs that are there now.

    Args:
        directory: the run directory; nobody trains the run.
        chosen: the logger and its options.

    Raises:
        Exception: whatever the mirror raises.
    """
    settings = directory.settings().model_copy(update={"logger": chosen})
    record = directory.record() or {}
    mirror: Mirror = imported(str(LOGGERS.entry(chosen.name).mirror))(settings, directory)
    mirror.send(history_of(directory, mirror.sent))
    mirror.finish(record.get("metrics") or {}, failed=record.get("status") != Status.FINISHED)
    return len(history_of(directory))
