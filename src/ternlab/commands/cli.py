"""The `ternlab` command: subcommands that need no configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ternlab import __version__
from ternlab.commands import run_parsers, wandb
from ternlab.commands.folders import add_folder, with_folder_options
from ternlab.core.errors import ExitCode, InfrastructureError, TernlabError
from ternlab.core.logs import replace_unprintable
from ternlab.core.registry import imported

_RUN_HELP = "run ID, a unique prefix or suffix of it, or the run directory"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ternlab ...` and return the exit code."""
    replace_unprintable()
    try:
        parser = _parser()
        chosen = parser.parse_args(_with_signs(with_folder_options(sys.argv[1:] if arguments is None else arguments)))
        if chosen.command is None:
            parser.print_help()
            return ExitCode.DONE
        return int(imported(_COMMANDS[chosen.command])(chosen))
    except InfrastructureError as error:
        from ternlab.sweeps.states import INFRASTRUCTURE

        print(f"error: {error}", file=sys.stderr)
        return INFRASTRUCTURE
    except TernlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of the output (head, less) has closed the pipe. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def _with_signs(arguments: Sequence[str]) -> list[str]:
    """Join `--sort` and its key: argparse would take `-test/top1` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--sort":
            joined[-1] = f"--sort={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ternlab",
        description="Inspect, compare and manage runs and sweeps of ternary-weight networks. "
        "Use `python src/train.py` to train a run, `python src/evaluate.py` to evaluate it and "
        "`python src/export.py` to export it.",
        epilog="exit codes: 0 done, 1 failed, 2 bad settings, 3 held by another process, 4 diverged, 5 interrupted "
        "(re-run the command to resume), 6 storage error; for a sweep: 3 some runs failed, "
        "4 SLURM or Ray does not respond",
    )
    parser.add_argument("--version", action="version", version=f"ternlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_results(commands)
    _add_show(commands)
    _add_compare(commands)
    run_parsers.add_diff(commands, _RUN_HELP)
    run_parsers.add_rerun(commands, _RUN_HELP)
    _add_runs(commands)
    tell = commands.add_parser(
        "info",
        help="the contents of an exported file",
        description="Print the contents of a packed or ONNX file written by `python src/export.py`.",
    )
    tell.add_argument("file", type=Path, help="the file")
    tell.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    _add_sweep(commands)
    run_parsers.add_sync(commands, _RUN_HELP)
    wandb.add_parser(commands)
    return parser


_WHERE_HELP = (
    "A condition compares a column, metric or setting with a value using = != < <= > >= or ~ (contains). "
    "Combine conditions with and, or, not and parentheses. Quote values that contain spaces; null means missing. "
    "Names: columns such as run_id, status, data, model, quant, seed; metrics as in docs/metrics.md; settings as in "
    "config.yaml, such as optim.lr."
)


def _add_results(commands: Any) -> None:
    text = "a table of all runs in a folder"
    table = commands.add_parser("results", help=text, description=f"Print {text}.", epilog=_WHERE_HELP)
    add_folder(table, "runs", other="the sweep's folder of runs, or TERNLAB_RUNS, or logs/runs")
    add_folder(table, "sweeps")
    table.add_argument("--where", metavar="CONDITION", help="e.g. 'quant=tga and data=digits and optim.lr<=0.05'")
    table.add_argument("--columns", metavar="A,B", help="columns, metrics and settings; * is a wildcard")
    table.add_argument(
        "--sort",
        metavar="A,B",
        help="sort in ascending order; prefix a key with - to sort in descending order (-test/top1)",
    )
    table.add_argument(
        "--group", nargs="?", const="seed", choices=["seed"],
        help="group finished runs that differ only in the seed: count, mean, standard deviation and 95 %% confidence "
        "interval",
    )  # fmt: skip
    table.add_argument("--status", metavar="A,B", help="running, stopped, finished, interrupted, failed, diverged")
    table.add_argument("--sweep", metavar="SWEEP", help="only the runs of a sweep, including its baselines")
    table.add_argument(
        "--format",
        choices=["table", "csv", "json", "parquet", "markdown"],
        help="default: from the suffix of --out, else table",
    )
    table.add_argument("--out", type=Path, metavar="FILE", help="write to a file (.csv, .json, .parquet, .md)")


def _add_show(commands: Any) -> None:
    text = "settings, metrics, curves and provenance of one run"
    show = commands.add_parser("show", help=text, description=f"Print {text}.")
    show.add_argument("run", help=_RUN_HELP)
    add_folder(show, "runs")
    show.add_argument("--layers", action="store_true", help="add a table of the quantized layers after the last epoch")
    show.add_argument("--curves", action="store_true", help="plot accuracy and loss by epoch")
    show.add_argument("--json", action="store_true", help="print one JSON object")


def _add_compare(commands: Any) -> None:
    text = "two runs, or two sets of runs paired by seed"
    compare = commands.add_parser(
        "compare", help=text, description=f"Compare {text}: compare RUN RUN, compare 'quant=tga' 'quant=sws'.",
        epilog="For two sets, finished runs are paired if their settings are equal except for those named in the "
        "conditions. The confidence interval is for the mean of the paired differences (Student's t). "
        f"{_WHERE_HELP}",
    )  # fmt: skip
    compare.add_argument("first", metavar="A", help=f"a condition, or {_RUN_HELP}")
    compare.add_argument("second", metavar="B", help="as A; differences are B minus A")
    add_folder(compare, "runs")
    compare.add_argument("--json", action="store_true", help="print one JSON object")


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser("runs", help="remove or archive runs", description="Remove or archive runs.")
    actions = runs.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("rm", "remove runs after confirmation; refuses runs that are running or that other runs need"),
        ("archive", "write runs to a .tar.gz file, verify it, and ask whether to remove them"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("run", nargs="+", help=_RUN_HELP)
        add_folder(action, "runs")
        add_folder(action, "sweeps")
        action.add_argument("--yes", action="store_true", help="remove without asking")
        if name == "archive":
            action.add_argument("--to", type=Path, required=True, metavar="FILE.tar.gz", help="the archive to write")
            action.add_argument("--keep", action="store_true", help="keep the runs without asking")


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="status of a sweep; wait for it, cancel it",
        description="Inspect or control a sweep started by sweeps/launch.py.",
    )
    actions = sweep.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("status", "show the state of every run"),
        ("wait", "wait for the sweep to end and print the results; exit code 3 if a trial is not finished"),
        ("cancel", "stop the sweep; running trials save their state first"),
        ("logs", "show the last log lines of unfinished runs, or of one run"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("sweep", help="sweep ID, a unique prefix or suffix of it, or the sweep's folder")
        add_folder(action, "sweeps")
        if name == "logs":
            action.add_argument("run", nargs="?", help="ID of one run")
            action.add_argument("--lines", type=int, default=20, help="lines of each log (default: 20)")


# Imported when they are typed, to keep --help fast.
_COMMANDS = {
    "results": "ternlab.commands.results:results",
    "show": "ternlab.commands.show:show",
    "compare": "ternlab.commands.compare:compare",
    "runs": "ternlab.commands.manage_runs:manage",
    "info": "ternlab.commands.info:show",
    "sweep": "ternlab.commands.sweeps:control",
    "sync": "ternlab.commands.sync:sync",
    "rerun": "ternlab.commands.rerun:rerun",
    "diff": "ternlab.commands.diff:diff",
    "wandb": "ternlab.commands.wandb:run",
}
