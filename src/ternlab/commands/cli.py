"""The `ternlab` command: what needs no configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ternlab import __version__
from ternlab.errors import ExitCode, TernlabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ternlab ...` and return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return ExitCode.DONE
    try:
        return int(_show(chosen))
    except TernlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ternlab",
        description="Train ternary-weight networks, and know what they cost. "
        "Runs are trained by `python src/train.py` and evaluated by `python src/evaluate.py`.",
        epilog="exit codes: 0 done, 1 failed, 2 bad settings, 3 held by another process, 4 diverged, 5 interrupted "
        "(the same command goes on), 6 storage",
    )
    parser.add_argument("--version", action="version", version=f"ternlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    show = commands.add_parser("show", help="the table of one run", description="Print the table of one run.")
    show.add_argument("run", help="id of the run, a unique beginning or ending of it, or its folder")
    show.add_argument("--runs", type=Path, default=Path("logs/runs"), help="folder of the runs (default: logs/runs)")
    return parser


def _show(chosen: argparse.Namespace) -> ExitCode:
    # Deferred, so that --help answers at once.
    from ternlab.runs.directory import existing_run
    from ternlab.runs.record import Status
    from ternlab.runs.table import print_table

    directory = existing_run(chosen.runs, chosen.run)
    record = directory.record() or {}
    if record["status"] == Status.FINISHED:
        print_table(directory)
    else:
        message = (record.get("error") or {}).get("message", "")
        print(f"{directory.run_id}: {record['status']}\n{message}\ncommand: {record['command']}\n{directory.path}")
    return ExitCode.DONE
