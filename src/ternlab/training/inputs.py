"""Input files of a training, from other runs or from outside: checks and descriptions; does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ternlab.algorithms.registry import inputs_of
from ternlab.core.errors import SettingsError
from ternlab.core.roles import BASELINE
from ternlab.models.weights_file import weights_kind, weights_path
from ternlab.runs.identity import file_digest
from ternlab.settings.root import Settings


def check_inputs(settings: Settings) -> None:
    """Check that the named files exist and look like weights; their contents are not decoded.

    Raises:
        SettingsError: a file is missing, unreadable, truncated, or of another format.
    """
    for one in inputs_of(settings):
        if one.source != BASELINE:
            try:
                weights_kind(weights_path(one.source))
            except SettingsError as error:
                raise error.about(one.setting, instead_of="model.weights") from None


def described_inputs(settings: Settings, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what the record says about the inputs: the run or file that each came from, and its digest."""
    found: dict[str, Any] = {}
    for one in inputs_of(settings):
        file = files[one.name]
        origin = {"run_id": file.parent.name} if one.source == BASELINE else {"file": str(file)}
        found[one.name] = {**origin, "sha256": file_digest(one.setting, str(file))}
    return found
