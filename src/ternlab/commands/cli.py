"""The `ternlab` command: what needs no configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ternlab import __version__
from ternlab.commands import wandb
from ternlab.core.errors import ExitCode, InfrastructureError, TernlabError

_RUN_HELP = "id of a run, a unique beginning or ending of it, or its folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ternlab ...` and return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(_with_signs(sys.argv[1:] if arguments is None else arguments))
    if chosen.command is None:
        parser.print_help()
        return ExitCode.DONE
    try:
        return int(_COMMANDS[chosen.command](chosen))
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
        # The reader of the output (head, less) has left. Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def _with_signs(arguments: Sequence[str]) -> list[str]:
    """Join `--sort` with the key behind it: argparse takes `-test/top1` for an option."""
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
        description="Train ternary-weight networks, and know what they cost. "
        "Runs are trained by `python src/train.py`, evaluated by `python src/evaluate.py` and written to files by "
        "`python src/export.py`.",
        epilog="exit codes: 0 done, 1 failed, 2 bad settings, 3 held by another process, 4 diverged, 5 interrupted "
        "(the same command goes on), 6 storage; of a sweep 3 some failed, 4 SLURM or Ray does not answer",
    )
    parser.add_argument("--version", action="version", version=f"ternlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_results(commands)
    _add_show(commands)
    _add_compare(commands)
    _add_runs(commands)
    tell = commands.add_parser(
        "info",
        help="what is inside of an exported file",
        description="Print what is inside of a packed or an ONNX file of `python src/export.py`.",
    )
    tell.add_argument("file", type=Path, help="the file")
    tell.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    _add_sweep(commands)
    wandb.add_parser(commands)
    return parser


_WHERE_HELP = (
    "Conditions compare a column, a metric or a setting with a value: = != < <= > >=, ~ (contains), joined by and, "
    "or, not and parentheses; values with blanks stand in quotes; null is what is missing. "
    "Names: columns such as run_id, status, data, model, quant, seed; metrics as in docs/metrics.md; settings as in "
    "config.yaml, such as optim.lr."
)


def _add_results(commands: Any) -> None:
    text = "a table of all runs below a folder"
    table = commands.add_parser("results", help=text, description=f"Print {text}.", epilog=_WHERE_HELP)
    _add_folders(table, default=None, of_sweep=" (default: logs/runs, or that of the sweep)")
    table.add_argument("--where", metavar="CONDITION", help="such as 'quant=tga and data=digits and optim.lr<=0.05'")
    table.add_argument("--columns", metavar="A,B", help="columns, metrics and settings; * stands for any letters")
    table.add_argument("--sort", metavar="A,B", help="from the smallest; -test/top1 is from the largest")
    table.add_argument(
        "--group", nargs="?", const="seed", choices=["seed"],
        help="finished runs that differ in nothing but the seed: number, mean, deviation and 95 %% interval",
    )  # fmt: skip
    table.add_argument("--status", metavar="A,B", help="running, stopped, finished, interrupted, failed, diverged")
    table.add_argument("--sweep", metavar="SWEEP", help="only the runs of a sweep, its baselines among them")
    table.add_argument("--format", choices=["table", "csv", "json", "parquet", "markdown"], help="default: by --out")
    table.add_argument("--out", type=Path, metavar="FILE", help="write to a file (.csv, .json, .parquet, .md)")


def _add_show(commands: Any) -> None:
    text = "settings, metrics, curves and origin of one run"
    show = commands.add_parser("show", help=text, description=f"Print {text}.")
    show.add_argument("run", help=_RUN_HELP)
    show.add_argument("--runs", type=Path, default=Path("logs/runs"), help="folder of the runs (default: logs/runs)")
    show.add_argument("--layers", action="store_true", help="add a table of the quantized layers at the last epoch")
    show.add_argument("--curves", action="store_true", help="draw accuracy and loss over the epochs")
    show.add_argument("--json", action="store_true", help="print one JSON object")


def _add_compare(commands: Any) -> None:
    text = "two runs, or two sets of runs paired by seed"
    compare = commands.add_parser(
        "compare", help=text, description=f"Compare {text}: compare RUN RUN, compare 'quant=tga' 'quant=sws'.",
        epilog="Of two sets, finished runs are paired whose settings are equal apart from those that the conditions "
        f"name; the interval is that of the mean difference of the pairs (Student's t). {_WHERE_HELP}",
    )  # fmt: skip
    compare.add_argument("first", metavar="A", help=f"a condition, or {_RUN_HELP}")
    compare.add_argument("second", metavar="B", help="the same; differences are B minus A")
    compare.add_argument("--runs", type=Path, default=Path("logs/runs"), help="folder of the runs (default: logs/runs)")
    compare.add_argument("--json", action="store_true", help="print one JSON object")


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser("runs", help="remove or archive runs", description="Remove or archive runs.")
    actions = runs.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("rm", "remove runs; asks first, and keeps what is running and what other runs need"),
        ("archive", "write runs into a .tar.gz, verify it, and ask whether to remove them"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("run", nargs="+", help=_RUN_HELP)
        _add_folders(action, default=Path("logs/runs"), of_sweep=" (default: logs/runs)")
        action.add_argument("--yes", action="store_true", help="remove without asking")
        if name == "archive":
            action.add_argument("--to", type=Path, required=True, metavar="FILE.tar.gz", help="the archive")
            action.add_argument("--keep", action="store_true", help="do not remove the runs, and do not ask")


def _add_folders(parser: argparse.ArgumentParser, default: Path | None, of_sweep: str) -> None:
    parser.add_argument("--runs", type=Path, default=default, metavar="DIR", help=f"folder of the runs{of_sweep}")
    text = "folder of the sweeps (default: logs/sweeps)"
    parser.add_argument("--sweeps", type=Path, default=Path("logs/sweeps"), metavar="DIR", help=text)


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


def _results(chosen: argparse.Namespace) -> ExitCode:
    # Deferred here and below, so that --help answers at once.
    from ternlab.commands.results import results

    return results(chosen)


def _show(chosen: argparse.Namespace) -> ExitCode:
    from ternlab.commands.show import show

    return show(chosen)


def _compare(chosen: argparse.Namespace) -> ExitCode:
    from ternlab.commands.compare import compare

    return compare(chosen)


def _runs(chosen: argparse.Namespace) -> ExitCode:
    from ternlab.commands import manage_runs

    return manage_runs.remove(chosen) if chosen.action == "rm" else manage_runs.archive(chosen)


def _info(chosen: argparse.Namespace) -> ExitCode:
    from ternlab.commands.info import show

    return show(chosen.file, as_json=chosen.json)


_COMMANDS = {
    "results": _results,
    "show": _show,
    "compare": _compare,
    "runs": _runs,
    "info": _info,
    "sweep": _sweep,
    "wandb": wandb.run,
}
