"""Where a command of `ternlab` looks for runs and sweeps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ternlab.core.user_files import default_path

_NAMES = ("runs", "sweeps")
_USUAL = {name: f"default: TERNLAB_{name.upper()}, or else logs/{name}" for name in _NAMES}


def add_folder(parser: argparse.ArgumentParser, name: str, *, other: str | None = None) -> None:
    """Add the option `--runs` or `--sweeps`, which may also be typed `paths.runs=FOLDER`, as in training.

    Args:
        parser: parser of the command.
        name: `runs` or `sweeps`.
        other: what the command takes if the option is not given, for the help; the option is then `None`.
    """
    default = None if other else Path(default_path(name))
    text = f"folder of the {name}; also paths.{name}=DIR ({f'default: {other}' if other else _USUAL[name]})"
    parser.add_argument(f"--{name}", type=Path, default=default, metavar="DIR", help=text)


def with_folder_options(arguments: Sequence[str]) -> list[str]:
    """Turn `paths.runs=DIR` and `paths.sweeps=DIR` into the options of `add_folder`."""
    spellings = {f"paths.{name}=": f"--{name}=" for name in _NAMES}
    replaced = []
    for argument in arguments:
        typed = next((typed for typed in spellings if argument.startswith(typed)), "")
        replaced.append(spellings[typed] + argument.removeprefix(typed) if typed else argument)
    return replaced
