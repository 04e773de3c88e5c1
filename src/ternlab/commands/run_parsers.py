"""The options of `ternlab rerun`, `diff` and `sync`; free of what these commands need, so that --help is fast."""

from __future__ import annotations

from typing import Any

from ternlab.commands.folders import add_folder


def add_rerun(commands: Any, run_help: str) -> None:
    """Add `ternlab rerun` to the commands."""
    text = "train a run again with some settings changed"
    parser = commands.add_parser(
        "rerun",
        help=text,
        description="Train a run again with some settings changed: all other settings are those that the run was "
        "trained with, even if their defaults have changed since. The new run has its own ID and directory. The exit "
        "codes are those of python src/train.py.",
    )
    parser.add_argument("run", help=run_help)
    parser.add_argument(
        "changes", nargs="+", metavar="NAME=VALUE", help="as for python src/train.py: seed=1, quant=sws"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained, and train nothing")
    add_folder(parser, "runs")


def add_diff(commands: Any, run_help: str) -> None:
    """Add `ternlab diff` to the commands."""
    text = "settings, code, versions, machine, data and metrics in which two runs differ"
    parser = commands.add_parser(
        "diff",
        help=text,
        description=f"Print the {text}. Exit code 0 if nothing differs, 1 if something does.",
    )
    parser.add_argument("first", metavar="A", help=run_help)
    parser.add_argument("second", metavar="B", help="as A")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_folder(parser, "runs")


def add_sync(commands: Any, run_help: str) -> None:
    """Add `ternlab sync` to the commands."""
    text = "send runs to TensorBoard, MLflow or Trackio"
    parser = commands.add_parser(
        "sync",
        help=text,
        description="Send runs to TensorBoard, MLflow or Trackio: the runs' own files are read, and what is missing is "
        "added. Sending a run twice changes nothing. For W&B, use `ternlab wandb sync`. Exit code 1 if a run could not "
        "be sent.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="RUN|logger=NAME|logger.OPTION=VALUE",
        help=f"{run_help}; or the logger and its options (default: those that the run was trained with)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="all runs that were trained with one of these loggers")
    add_folder(parser, "runs")
