"""A run is a function of its settings: its id is a hash of those that can change the result."""

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

# Raised when the same settings no longer give the same result, so that old runs are not taken for new ones.
IDENTITY_VERSION = 1
_HASH_LETTERS = 10


def run_id(settings: Settings) -> str:
    """Return the id of the run of `settings`, e.g. `digits-resnet34-tga-s0-1f2e3d4c5b`.

    Left out are paths, loggers, devices, workers, and every setting at its default; so that a new
    option with a default does not give old runs a new id. Files count by their contents.
    """
    canonical = json.dumps(identity(settings), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_LETTERS]
    return f"{settings.data.name}-{settings.model.name}-{settings.quant.label}-s{settings.seed}-{digest}"


def identity(settings: Settings) -> dict[str, Any]:
    """Return what the id is a hash of: plain values, nested as the settings are."""
    values = _values(settings)
    values["version"] = IDENTITY_VERSION
    values["seed"] = settings.seed
    if not settings.quant.active:
        values.pop("baseline", None)
        values.pop("quant", None)
    elif settings.quant.layers:
        # As they are typed, so that an option at its default is left out here as well.
        values["quant"]["layers"] = [entry.typed() for entry in settings.quant.differing]
        if not settings.quant.differing:
            del values["quant"]["layers"]
    if settings.algorithm == AlgorithmSettings():
        # Its name too, so that ids are those of before there was another training.
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


# Asked once a class: a plan of a sweep has the ids of ten thousand runs.
_defaults = functools.cache(identity_defaults)


def file_digest(setting: str, path: str | None) -> str | None:
    """Return the sha256 of a file's bytes in hex, or `None` for no file.

    Raises:
        SettingsError: the file cannot be read; `setting` is named.
    """
    if path is None:
        return None
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(
            setting, value=path, rule=f"cannot be read ({error.strerror})", instead="give the path of an existing file"
        ) from error
