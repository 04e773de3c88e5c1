"""Errors that a user can act on, and their exit codes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import IntEnum

from ternlab.core.typed import assignment

# The default of a setting may be `None`.
NO_DEFAULT = object()


class ExitCode(IntEnum):
    """Exit codes of every ternlab command (documented in docs/interface.md)."""

    DONE = 0
    FAILED = 1
    BAD_SETTINGS = 2
    HELD = 3
    DIVERGED = 4
    INTERRUPTED = 5
    STORAGE = 6


class TernlabError(Exception):
    """Base class of errors that end a command with a message and no traceback."""

    exit_code = ExitCode.FAILED


class SettingsError(TernlabError):
    """A setting, or something a setting refers to, cannot be used.

    Args:
        what: the setting's dotted name, or the thing that is wrong.
        value: the given value; not shown in the message if it is `None`.
        rule: the rule that the value violates.
        instead: what to type or do instead: first the words to type, alternatives after ", or ", explanations in
            parentheses.
        default: instead of `instead`: the setting's default, which the message suggests.
        setting: the setting that has the default, if it is not `what` (which may be an element of its list).
    """

    exit_code = ExitCode.BAD_SETTINGS

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        rule: str,
        instead: str = "",
        default: object = NO_DEFAULT,
        setting: str | None = None,
    ) -> None:
        self.what, self.default, self.setting = what, default, setting or what
        given = "" if value is None else f" = {value!r}" if not isinstance(value, str) else f" = {value}"
        if default is not NO_DEFAULT:
            instead = self._proposed()
        hint = f"\n  instead: {instead}" if instead else ""
        super().__init__(f"{what}{given}: {rule}{hint}")

    def _proposed(self) -> str:
        return f"{assignment(self.setting, self.default)} (the default)"

    def with_default(self, default: object) -> SettingsError:
        """Return the same error for a different default of the setting, as config options and recipes set it."""
        error = SettingsError(self.what, rule="", default=default, setting=self.setting)
        error.args = (str(self).replace(self._proposed(), error._proposed()),)
        return error

    def about(self, setting: str, instead_of: str) -> SettingsError:
        """Return the same error for another setting, for checks that several settings share."""
        error = SettingsError(setting, rule="")
        error.args = (str(self).replace(instead_of, setting),)
        return error


class Conflict(ValueError):
    """Values of one section that are valid individually but not together; for the validators of a section.

    Args:
        rule: the rule that they violate.
        instead: alternatives, each with values of the section's settings that resolve the conflict.
    """

    def __init__(self, rule: str, *instead: Mapping[str, object]) -> None:
        super().__init__(rule)
        self.instead = instead

    def typed(self, prefix: str) -> str:
        """Return what to type, for the section with the dotted name `prefix`."""
        start = f"{prefix}." if prefix else ""
        words = (" ".join(assignment(start + name, value) for name, value in one.items()) for one in self.instead)
        return ", or ".join(words)


class RunHeldError(TernlabError):
    """Another live process is working in the run directory."""

    exit_code = ExitCode.HELD


class DivergedError(TernlabError):
    """The loss or a weight is no longer finite."""

    exit_code = ExitCode.DIVERGED


class NeedDivergedError(TernlabError):
    """A run that another run needs diverged, so the other run was not started.

    Args:
        role: its role for that run ("baseline").
        run_id: id of the run that diverged.
        cause: how it ended.
        command: command that trains only this run.
        advice: how to change its recipe.
    """

    exit_code = ExitCode.DIVERGED

    def __init__(
        self, role: str, run_id: str, cause: DivergedError, command: str, advice: str = "change the recipe"
    ) -> None:
        super().__init__(
            f"The {role} {run_id} diverged: {str(cause).splitlines()[0]}\n"
            f"  instead: {advice}, or retry with the same settings:\n"
            f"  {command} force=true"
        )


class BaselineDivergedError(NeedDivergedError):
    """The full-precision baseline of a run diverged, so the run itself was not started."""

    def __init__(self, run_id: str, cause: DivergedError, command: str) -> None:
        advice = "change the recipe (baseline.overrides changes only the baseline's)"
        super().__init__("baseline", run_id, cause, command, advice)


class RunInterrupted(TernlabError):
    """A signal asked the run to stop; its state is saved, and re-running the same command resumes it."""

    exit_code = ExitCode.INTERRUPTED


class StorageError(TernlabError):
    """The disk is full, over quota, or no longer accepts writes."""

    exit_code = ExitCode.STORAGE


class InfrastructureError(TernlabError):
    """The backend that executes trials (SLURM, Ray) stopped responding; finished training is kept."""


class CheckpointCorruptError(TernlabError):
    """A checkpoint's bytes differ from those that were written."""


# Most names that a message lists; there are fewer settings and choices, but there may be thousands of runs.
_SHOWN = 20
_MUCH_WORSE = 0.2


def near_matches(word: str, choices: Iterable[str], most: int = 3) -> list[str]:
    """Return up to `most` of `choices` that resemble `word`, best first; none is much worse than the best."""
    near = difflib.get_close_matches(word, list(choices), n=most, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(None, choice, word).ratio() for choice in near]
    return [choice for choice, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - _MUCH_WORSE]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a hint for error messages: the near matches of `word`, and the choices (all of them if they are few)."""
    known = sorted(choices)
    near = near_matches(word, known)
    return f"did you mean {' or '.join(near)}? (known: {_listed(known)})" if near else one_of(known)


def one_of(choices: Iterable[str]) -> str:
    """Return a hint that lists the choices (all of them if they are few)."""
    return f"one of: {_listed(sorted(choices))}"


def _listed(choices: list[str]) -> str:
    more = f", and {len(choices) - _SHOWN} more" if len(choices) > _SHOWN else ""
    return ", ".join(choices[:_SHOWN]) + more
