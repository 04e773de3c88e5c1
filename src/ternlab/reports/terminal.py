"""Text that is safe to print in a terminal, and the terminal's width."""

from __future__ import annotations

import shutil
import sys


def visible(text: str) -> str:
    """Return `text` with control characters, escape sequences and changes of direction written out."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _written(one) for one in text)


def _written(character: str) -> str:
    return repr(character)[1:-1]


def width() -> int | None:
    """Return the width of the terminal, `None` if standard output is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def draws_unicode() -> bool:
    """Return whether standard output can show block and braille characters."""
    try:
        "⣿█…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
