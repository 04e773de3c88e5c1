"""The per-run files of a sweep, next to its plan; `folder` is the sweep's folder."""

from __future__ import annotations

from pathlib import Path


def output_file(folder: Path, run: str) -> Path:
    """Return the file with the output of a run; it is deleted if the run succeeds."""
    return folder / "output" / f"{run}.txt"


def exit_file(folder: Path, run: str) -> Path:
    """Return the file to which a run's job writes its exit code if it fails."""
    return folder / "exits" / f"{run}.json"


def alive_file(folder: Path, run: str) -> Path:
    """Return the heartbeat file of a run, whose modification time is updated while the run is alive."""
    return folder / "alive" / run


def last_words(folder: Path, run: str) -> str:
    """Return the last unindented line of a run's output; empty if there is none.

    This is the last line of a traceback, or an error message, which starts with the setting.
    """
    try:
        printed = output_file(folder, run).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line for line in printed.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else ""
