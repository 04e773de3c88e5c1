"""Logging: lines for the user go to the terminal, everything goes to the run's log file."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

# Not a child of "ternlab", so that tracebacks go to the log file and not to the terminal.
tracebacks = logging.getLogger("tracebacks")

FOR_A_PERSON = "\x1e"

_LIBRARIES = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")


# Warnings about what the user cannot change: how ternlab starts processes, and how Lightning calls torch.
_OF_NO_USE = (
    "The `srun` command is available on your system but is not used",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


class _Terminal(logging.Handler):
    """Writes to the current `sys.stderr`, so that a progress bar can keep lines above itself."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        # The reader of a pipe may quit (head, less); the run continues, and its lines are in the log file.
        with contextlib.suppress(OSError):
            for line in (prefix + self.format(record)).splitlines():
                print(self._mark + line, file=sys.stderr, flush=True)


def replace_unprintable() -> None:
    """Replace characters that the encoding of standard output or error lacks, instead of failing on them.

    A table needs an ellipsis and a file may have any name; an ASCII terminal or pipe has neither.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def log_to_terminal(mark: str = "") -> None:
    """Send ternlab's log lines to the terminal; those of libraries go only to the log file.

    Args:
        mark: prefix of every line; a parent process forwards the lines that start with `FOR_A_PERSON`.
    """
    ours = logging.getLogger("ternlab")
    if not any(isinstance(handler, _Terminal) for handler in ours.handlers):
        ours.addHandler(_Terminal(mark))
    ours.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").propagate = True
    # Without a handler, the root logger would print library warnings to the terminal.
    logging.getLogger().addHandler(logging.NullHandler())


def quiet_libraries() -> None:
    """Keep only the warnings of Lightning, and only in the log file; call this after importing Lightning.

    Its other lines repeat what ternlab logs (the device, the end of training) or advertise other packages.
    """
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    for message in _OF_NO_USE:
        warnings.filterwarnings("ignore", message=message)


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
