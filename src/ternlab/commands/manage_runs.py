"""`ternlab runs rm` and `ternlab runs archive`: ask first, and never remove runs that other runs need."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.reports.archive import check_target, write_archive
from ternlab.reports.removal import (
    all_held,
    check_free,
    check_unreferenced,
    in_removal_order,
    remove_leftovers,
    remove_run,
    size_of,
    unfinished_sweeps,
)
from ternlab.reports.terminal import visible
from ternlab.runs.directory import RunDirectory, existing_run


def manage(chosen: argparse.Namespace) -> ExitCode:
    """Carry out `ternlab runs rm|archive`; see `remove` and `archive`."""
    return remove(chosen) if chosen.action == "rm" else archive(chosen)


def remove(chosen: argparse.Namespace) -> ExitCode:
    """Remove runs after confirmation.

    Raises:
        SettingsError: there is no such run, it is the baseline of other runs, or confirmation is not possible.
        RunHeldError: another process holds one of them.
    """
    directories = _named(chosen)
    check_free(directories)
    _check_all_unreferenced(directories)
    _check_somebody_answers(chosen)
    print(*_about(directories, chosen.sweeps), sep="\n")
    if not (chosen.yes or _agreed(f"remove {_runs(directories)}?")):
        print("nothing removed")
        return ExitCode.DONE
    # Check again: a run that refers to one of these may have started during the prompt.
    _check_all_unreferenced(directories)
    with all_held(directories):
        _remove(directories)
    return ExitCode.DONE


def archive(chosen: argparse.Namespace) -> ExitCode:
    """Write runs to a compressed tar file, verify it, and remove them after confirmation.

    Raises:
        SettingsError: there is no such run, it is the baseline of other runs (without `--keep`), or the file cannot be
            written.
        RunHeldError: another process holds one of them.
        StorageError: the archive cannot be written, or differs from the files that it was written from.
    """
    directories = _named(chosen)
    check_target(chosen.to, directories)
    check_free(directories)
    if not chosen.keep:
        _check_all_unreferenced(directories, "--keep, or ")
    # Before the locks are taken: checking whether a run is held releases this process's own lock on it.
    about = _about(directories, chosen.sweeps)
    with all_held(directories):
        count = write_archive(chosen.to, directories)
        size = chosen.to.stat().st_size
        print(f"{chosen.to}: {_runs(directories)}, {count} files, {size:,} bytes, verified")
        unpack = ["tar", "-xzf", str(chosen.to.absolute()), "-C", str(directories[0].path.parent)]
        print(f"to unpack:  {shlex.join(unpack)}")
        if chosen.keep or not _may_remove(chosen, about, directories):
            print("runs kept")
            return ExitCode.DONE
        _remove(directories)
    return ExitCode.DONE


def _named(chosen: argparse.Namespace) -> list[RunDirectory]:
    found = {directory.path: directory for directory in (existing_run(chosen.runs, name) for name in chosen.run)}
    for path in found:
        if path.is_symlink():
            raise SettingsError(
                "run", value=str(path), rule="is a symbolic link", instead=f"the folder {path.resolve()}"
            )
    return list(found.values())


def _check_all_unreferenced(directories: Sequence[RunDirectory], instead: str = "") -> None:
    # A run may have been named by a path outside the folder of the runs.
    for folder in dict.fromkeys(directory.path.parent for directory in directories):
        try:
            check_unreferenced([one for one in directories if one.path.parent == folder], folder)
        except SettingsError as error:
            error.args = (str(error).replace("instead: ", f"instead: {instead}"),)
            raise


def _check_somebody_answers(chosen: argparse.Namespace) -> None:
    if not chosen.yes and not sys.stdin.isatty():
        raise SettingsError(
            "--yes", rule="standard input is not a terminal, so the prompt cannot be shown", instead="add --yes"
        )


def _may_remove(chosen: argparse.Namespace, about: Sequence[str], directories: Sequence[RunDirectory]) -> bool:
    if not chosen.yes and not sys.stdin.isatty():
        return False
    print(*about, sep="\n")
    return chosen.yes or _agreed(f"remove {_runs(directories)} now in the archive?")


def _about(directories: Sequence[RunDirectory], sweeps: Path) -> list[str]:
    """Return what would be removed, and which unfinished sweeps need it."""
    lines = [f"{visible(str(directory.path))}  {size_of(directory):,} bytes" for directory in directories]
    for folder in dict.fromkeys(directory.path.parent for directory in directories):
        of_folder = [one for one in directories if one.path.parent == folder]
        for sweep, runs in unfinished_sweeps(of_folder, folder, sweeps).items():
            lines.append(f"{sweep} is not finished and would retrain: {', '.join(map(visible, runs))}")
    return lines


def _agreed(question: str) -> bool:
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(directories: Sequence[RunDirectory]) -> None:
    for directory in in_removal_order(directories):
        remove_run(directory)
        print(f"removed {visible(directory.run_id)}")
    for folder in dict.fromkeys(directory.path.parent for directory in directories):
        remove_leftovers(folder)


def _runs(directories: Sequence[RunDirectory]) -> str:
    return "1 run" if len(directories) == 1 else f"{len(directories)} runs"
