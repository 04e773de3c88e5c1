"""The files that a training needs from other runs or from outside: checked, found, described; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ternlab.algorithms.options import BASELINE
from ternlab.algorithms.registry import inputs_of
from ternlab.errors import SettingsError
from ternlab.models.weights_file import weights_kind, weights_path
from ternlab.runs.identity import file_digest
from ternlab.runs.pairing import baseline_of
from ternlab.settings.root import Settings


def check_inputs(settings: Settings) -> None:
    """Check that the files that are named are there and look like weights; their content is not decoded.

    Raises:
        SettingsError: a file is missing, unreadable, cut off, or of another kind.
    """
    for one in inputs_of(settings):
        if one.source != BASELINE:
            try:
                weights_kind(weights_path(one.source))
            except SettingsError as error:
                raise error.about(one.setting, instead_of="model.weights") from None


def input_files(settings: Settings, given: Mapping[str, Path]) -> dict[str, Path]:
    """Return the file of every input by its name.

    Args:
        settings: of the run.
        given: files that the caller knows already; they are kept.
    """
    files = dict(given)
    for one in inputs_of(settings):
        if one.name not in files:
            files[one.name] = _file_of(settings, one.source)
    return files


def _file_of(settings: Settings, source: str) -> Path:
    if source == BASELINE:
        return baseline_of(settings)[1].weights_file
    return Path(source).expanduser()


def described_inputs(settings: Settings, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what the record says of the inputs: the run or the file that each came from, and its digest."""
    found: dict[str, Any] = {}
    for one in inputs_of(settings):
        file = files[one.name]
        origin = {"run_id": file.parent.name} if one.source == BASELINE else {"file": str(file)}
        found[one.name] = {**origin, "sha256": file_digest(one.setting, str(file))}
    return found
