"""Run identity: the ID of a run is a hash of the settings that can change its result."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from ternlab.algorithms.registry import inputs_of
from ternlab.core.errors import SettingsError
from ternlab.core.fields import Section, identity_defaults
from ternlab.core.roles import BASELINE
from ternlab.data.fingerprint import data_fingerprint
from ternlab.models.weights_file import weights_fingerprint
from ternlab.settings.algorithm import AlgorithmSettings
from ternlab.settings.root import Settings

# Incremented when the same settings no longer give the same result, so that old runs are not mistaken for new ones.
IDENTITY_VERSION = 1
_HASH_LETTERS = 10


def run_id(settings: Settings) -> str:
    """Return the ID of the run of `settings`, e.g. `digits-resnet34-tga-s0-1f2e3d4c5b`.

    Paths, loggers, devices, workers and every setting at its default are not part of it. So a new option with a
    default does not change the IDs of earlier runs. Files count by their contents.
    """
    canonical = json.dumps(identity(settings), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_LETTERS]
    return f"{settings.data.name}-{settings.model.name}-{settings.quant.label}-s{settings.seed}-{digest}"


def identity(settings: Settings) -> dict[str, Any]:
    """Return the values that the ID is a hash of: plain values, nested like the settings."""
    values = _values(settings)
    values["version"] = IDENTITY_VERSION
    values["seed"] = settings.seed
    if not settings.quant.active:
        values.pop("baseline", None)
        values.pop("quant", None)
    elif settings.quant.layers:
        # As typed, so that options at their defaults are omitted here as well.
        values["quant"]["layers"] = [entry.identity() for entry in settings.quant.differing]
        if not settings.quant.differing:
            del values["quant"]["layers"]
    if settings.algorithm == AlgorithmSettings():
        # The name too, so that ids are the same as before other algorithms existed.
        values.pop("algorithm", None)
    contents = {
        "data": data_fingerprint(settings.data),
        "model.weights": weights_fingerprint(settings.model),
        "quant.init_file": file_digest("quant.init_file", settings.quant.init_file if settings.quant.active else None),
        "ckpt_path": file_digest("ckpt_path", settings.ckpt_path),
    }
    values.pop("ckpt_path", None)
    for section, key in (("model", "weights"), ("quant", "init_file")):
        values.get(section, {}).pop(key, None)
    for one in inputs_of(settings):
        if one.source != BASELINE:
            contents[one.setting] = file_digest(one.setting, one.source)
            values["algorithm"].get("options", {}).pop(one.setting.rpartition(".")[2], None)
    values["contents"] = {name: digest for name, digest in contents.items() if digest is not None}
    return values


def _values(section: Section) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, default in _defaults(type(section)).items():
        value = getattr(section, name)
        if isinstance(value, Section):
            inner = _values(value)
            if inner:
                values[name] = inner
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            values[name] = [_values(one) for one in value]
        elif name == "name" or value != default:
            values[name] = value
    return values


# Computed once per class: the plan of a sweep may need the IDs of ten thousand runs.
_defaults = functools.cache(identity_defaults)


def file_digest(setting: str, path: str | None) -> str | None:
    """Return the hex SHA-256 of a file's bytes, or `None` for no file.

    Raises:
        SettingsError: the file cannot be read; the message names `setting`.
    """
    if path is None:
        return None
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(
            setting, value=path, rule=f"cannot be read ({error.strerror})", instead=f"{setting}=FILE"
        ) from error
