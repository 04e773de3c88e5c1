"""Where lines go: a person's to the terminal, everything to the run's log file."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

# Not below "ternlab", so that tracebacks reach the log file and not the terminal.
tracebacks = logging.getLogger("tracebacks")

FOR_A_PERSON = "\x1e"

_LIBRARIES = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")


class _Terminal(logging.Handler):
    """Writes to whatever `sys.stderr` is at the moment, so that a progress bar can keep lines above itself."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        # Who reads the terminal may leave (head, less); the run goes on, its lines are in the log file.
        with contextlib.suppress(OSError):
            for line in (prefix + self.format(record)).splitlines():
                print(self._mark + line, file=sys.stderr, flush=True)


def log_to_terminal(mark: str = "") -> None:
    """Send the lines of ternlab to the terminal, and nothing of the libraries, whose lines are in the log file.

    Args:
        mark: goes before every line; a parent process passes on the lines with `FOR_A_PERSON`.
    """
    ours = logging.getLogger("ternlab")
    if not any(isinstance(handler, _Terminal) for handler in ours.handlers):
        ours.addHandler(_Terminal(mark))
    ours.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").propagate = True
    # Without a handler, the root logger would print warnings of libraries to the terminal.
    logging.getLogger().addHandler(logging.NullHandler())


def quiet_libraries() -> None:
    """Take away the terminal handlers that Lightning gives itself; to be called once it is imported."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


@contextlib.contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """While the block runs, append every line, warning and traceback to `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
