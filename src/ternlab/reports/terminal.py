"""Text that is safe in a terminal, and how wide that is."""

from __future__ import annotations

import shutil
import sys


def visible(text: str) -> str:
    """Return `text` with control characters, escape sequences and changes of direction written out."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _written(one) for one in text)


def _written(character: str) -> str:
    return repr(character)[1:-1]


def width() -> int | None:
    """Return the columns of the terminal, `None` when standard output is none: a pipe has room for everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def draws_unicode() -> bool:
    """Return whether standard output can show block and braille characters."""
    try:
        "⣿█…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
