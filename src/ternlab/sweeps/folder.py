"""The files of a sweep beside its plan, all of them about one run; `folder` is that of the sweep."""

from __future__ import annotations

from pathlib import Path


def output_file(folder: Path, run: str) -> Path:
    """Return the file with what a run prints; it is deleted when the run ends well."""
    return folder / "output" / f"{run}.txt"


def exit_file(folder: Path, run: str) -> Path:
    """Return where the job of a run says how it ended when that was not well."""
    return folder / "exits" / f"{run}.json"


def alive_file(folder: Path, run: str) -> Path:
    """Return the file whose time is set anew while the run lives."""
    return folder / "alive" / run


def last_words(folder: Path, run: str) -> str:
    """Return the last line of what a run has printed that does not belong to the one before it; empty without one.

    That is the traceback's last line, or a message, which begins with the setting and ends with what to type instead.
    """
    try:
        printed = output_file(folder, run).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line for line in printed.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else ""
