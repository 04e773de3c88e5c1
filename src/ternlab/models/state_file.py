"""State dicts in safetensors files: tensors that share memory, and extra state that is no tensor, included.

The format stores each tensor by itself, so tensors that share memory (tied weights, views) are stored once for each
name. A network that ties them ties them again when it is loaded. Extra state is stored as bytes (see
`ternlab.models.extra_state`); the metadata entry `extra_state` lists its names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor

from ternlab.models.extra_state import decoded, encoded, extra_states

_EXTRA = "extra_state"


def state_bytes(state: Mapping[str, Any]) -> bytes:
    """Return a state dict as the bytes of a safetensors file.

    Raises:
        SettingsError: an extra state cannot be stored.
    """
    extra = {name: encoded(name, value) for name, value in extra_states(state).items()}
    metadata = {_EXTRA: json.dumps(sorted(extra))} if extra else None
    return bytes(save(_apart({**state, **extra}), metadata=metadata))


def read_state(path: Path) -> dict[str, Any]:
    """Return the state dict in a safetensors file, on the CPU; the file may be from any program.

    Raises:
        OSError, SafetensorError, ValueError, RuntimeError, pickle.UnpicklingError: it cannot be read.
    """
    with safe_open(path, "pt") as file:
        names = _extra_names(file.metadata())
    return _with_extra(load_file(path), names)


def state_of_bytes(data: bytes) -> dict[str, Any]:
    """Return the state dict whose bytes `state_bytes` returned."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    return _with_extra(load(data), _extra_names(metadata))


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors of which no two share memory."""
    seen: set[int] = set()
    found = {}
    for name, value in state.items():
        value = value.detach().contiguous()
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in seen else value
        seen.add(place)
    return found


def _extra_names(metadata: Mapping[str, str] | None) -> list[str]:
    return list(json.loads((metadata or {}).get(_EXTRA, "[]")))


def _with_extra(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Any]:
    return {**tensors, **{name: decoded(tensors[name]) for name in names if name in tensors}}
