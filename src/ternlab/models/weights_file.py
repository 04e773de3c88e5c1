"""Checks of `model.weights` that do not need torch: early validation, and the fingerprint for the run's identity."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Literal

from ternlab.core.errors import SettingsError, near_matches
from ternlab.core.typed import assignment
from ternlab.models.registry import MODELS
from ternlab.models.settings import ModelSettings

TORCHVISION = "torchvision"

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80\x02"  # torch.save before torch 1.6, the format of the published CIFAR checkpoints
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format

Kind = Literal["torch", "safetensors"]


def check_weights(settings: ModelSettings) -> None:
    """Check that the weights named in `settings` can exist and look like weights.

    The file's contents are not decoded and nothing is downloaded; `load_weights` does that.

    Raises:
        SettingsError: `torchvision` has none for this network; the file is missing, unreadable, truncated or of another
            format; or there is something to skip and nothing to load.
    """
    if settings.weights is None:
        if settings.weights_skip:
            raise SettingsError(
                "model.weights_skip",
                value=list(settings.weights_skip),
                rule="no weights are loaded, so there is nothing to skip",
                instead="model.weights=FILE, or leave model.weights_skip out",
            )
    elif settings.weights == TORCHVISION:
        check_torchvision_name(settings.name)
    else:
        weights_kind(weights_path(settings.weights))


def weights_fingerprint(settings: ModelSettings) -> str | None:
    """Return what identifies the initial weights: a file's SHA-256, `"torchvision"`, or `None` if unset.

    Raises:
        SettingsError: the file cannot be read.
    """
    if settings.weights is None or settings.weights == TORCHVISION:
        return settings.weights
    path = weights_path(settings.weights)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unusable(path, f"the file cannot be read ({error.strerror})") from error


def check_torchvision_name(name: str) -> None:
    """Raise SettingsError if torchvision has no weights for the network `name`."""
    having = [other for other, entry in MODELS.items() if entry.torchvision]
    if name not in having:
        raise SettingsError(
            "model.weights",
            value=TORCHVISION,
            rule=f"torchvision has no weights for {name}, only for {', '.join(having)}",
            instead="model.weights=FILE, or model.weights=null for random initialization",
        )


def weights_path(source: str) -> Path:
    """Return the path that `model.weights` names, with `~` expanded.

    Raises:
        SettingsError: it is a URL or a folder, or there is no such file.
    """
    if "://" in source:
        raise _unusable(source, "this is a URL, not a file", "download it, then model.weights=FILE")
    path = Path(source).expanduser()
    if path.is_dir():
        raise _unusable(path, "this is a folder, not a file", "model.weights=FOLDER/FILE")
    if not path.exists():
        raise _unusable(path, "no such file", _neighbours(path))
    return path


def weights_kind(path: Path) -> Kind:
    """Return the format of the file, detected from its first bytes and not from its name.

    Raises:
        SettingsError: it cannot be read, has an unknown format, or is truncated.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
            if head.startswith(_PICKLE):
                return "torch"
            if head.startswith(_ZIP):
                if not zipfile.is_zipfile(file):
                    raise _unusable(path, "the file is cut off or damaged (no zip directory at its end)")
                return "torch"
            if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
                _check_safetensors(path)
                return "safetensors"
    except OSError as error:
        raise _unusable(path, f"the file cannot be read ({error.strerror})") from error
    what = f"it begins with {head!r}" if head else "it is empty"
    raise _unusable(path, f"the file is neither a torch.save nor a safetensors file: {what}")


def _check_safetensors(path: Path) -> None:
    """Compare the end of the last tensor, according to the header, with the file's length."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _unusable(path, "the file is cut off or damaged (its safetensors header)") from error
    missing = 8 + length + end - path.stat().st_size
    if missing > 0:
        raise _unusable(path, f"the file is cut off or damaged ({missing} bytes are missing)")


def _unusable(path: Path | str, rule: str, instead: str = "copy the file again from its source") -> SettingsError:
    return SettingsError("model.weights", value=str(path), rule=rule, instead=instead)


# Of files that are proposed; a file that is named may have any.
_SUFFIXES = frozenset((".pt", ".pth", ".th", ".ckpt", ".bin", ".tar", ".safetensors"))


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"model.weights=FILE (the folder {path.parent} does not exist either{_start(path)})"
    others = (other.name for other in path.parent.iterdir() if other.is_file() and other.suffix.lower() in _SUFFIXES)
    near = near_matches(path.name, others)
    if near:
        return " or ".join(assignment("model.weights", str(path.parent / name)) for name in near)
    return f"model.weights=FILE (there is no file like it in {path.parent}{_start(path)})"


def _start(path: Path) -> str:
    return "" if path.is_absolute() else f"; relative paths start at {Path.cwd()}"
