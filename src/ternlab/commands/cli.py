"""The `ternlab` command: what needs no configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
        return int(_COMMANDS[chosen.command](chosen))
    except TernlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of the output (head, less) has left. Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ternlab",
        description="Train ternary-weight networks, and know what they cost. "
        "Runs are trained by `python src/train.py`, evaluated by `python src/evaluate.py` and written to files by "
        "`python src/export.py`.",
        epilog="exit codes: 0 done, 1 failed, 2 bad settings, 3 held by another process, 4 diverged, 5 interrupted "
        "(the same command goes on), 6 storage",
    )
    parser.add_argument("--version", action="version", version=f"ternlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    show = commands.add_parser("show", help="the table of one run", description="Print the table of one run.")
    show.add_argument("run", help="id of the run, a unique beginning or ending of it, or its folder")
    show.add_argument("--runs", type=Path, default=Path("logs/runs"), help="folder of the runs (default: logs/runs)")
    tell = commands.add_parser(
        "info",
        help="what is inside of an exported file",
        description="Print what is inside of a packed or an ONNX file of `python src/export.py`.",
    )
    tell.add_argument("file", type=Path, help="the file")
    tell.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    _add_sweep(commands)
    return parser


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep", help="where a sweep stands; wait for it, stop it", description="Look at a sweep of sweeps/launch.py."
    )
    actions = sweep.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("status", "where every run stands"),
        ("wait", "wait for its end and print the results; code 3 when a trial is not finished"),
        ("cancel", "stop it; running trials save first"),
        ("logs", "the last lines of what is not finished, or of one run"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("sweep", help="id of the sweep, a unique beginning or ending of it, or its folder")
        action.add_argument("--sweeps", type=Path, default=Path("logs/sweeps"), help="default: logs/sweeps")
        if name == "logs":
            action.add_argument("run", nargs="?", help="id of one run")
            action.add_argument("--lines", type=int, default=20, help="of each log (default: 20)")


def _sweep(chosen: argparse.Namespace) -> int:
    from ternlab.commands import sweeps

    if chosen.action == "logs":
        return sweeps.logs(chosen.sweeps, chosen.sweep, chosen.run, chosen.lines)
    actions = {"status": sweeps.status, "wait": sweeps.wait, "cancel": sweeps.cancel}
    return int(actions[chosen.action](chosen.sweeps, chosen.sweep))


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


def _info(chosen: argparse.Namespace) -> ExitCode:
    from ternlab.commands.info import show

    return show(chosen.file, as_json=chosen.json)


_COMMANDS = {"show": _show, "info": _info, "sweep": _sweep}
