"""Extra state of modules (`get_extra_state`) that is no tensor, as bytes for files that hold only tensors.

The bytes are those of `torch.save`. They are read with torch's restricted unpickler, which builds plain values
(numbers, text, lists, dictionaries) and tensors, and executes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from ternlab.core.errors import SettingsError

# The name that torch gives the entry; modules cannot choose another.
_NAME = "_extra_state"


def is_extra_state(name: str) -> bool:
    """Return whether an entry of a state dict is the extra state of a module."""
    return name.rpartition(".")[2] == _NAME


def extra_states(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a state dict that are extra states and no tensors."""
    return {name: value for name, value in state.items() if is_extra_state(name) and not isinstance(value, Tensor)}


def encoded(name: str, value: Any) -> Tensor:
    """Return an extra state as bytes (uint8, one dimension).

    Raises:
        SettingsError: it holds something that could not be read back without executing code.
    """
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
    except Exception as error:  # pickling runs the value's own code
        raise _unusable(name, value, f"{type(error).__name__}: {error}".splitlines()[0]) from error
    buffer.seek(0)
    if objects := get_unsafe_globals_in_checkpoint(buffer):
        raise _unusable(name, value, f"it contains {', '.join(sorted(objects)[:3])}")
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _unusable(name: str, value: Any, reason: str) -> SettingsError:
    return SettingsError(
        name,
        value=type(value).__name__,
        rule=f"this extra state of the network cannot be saved and read back ({reason})",
        instead="return only numbers, text, lists, dictionaries and tensors from get_extra_state()",
    )


def decoded(data: Tensor) -> Any:
    """Return the extra state whose bytes `encoded` returned.

    Raises:
        pickle.UnpicklingError, RuntimeError, EOFError: the bytes are damaged, or hold other objects.
    """
    return torch.load(io.BytesIO(data.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
