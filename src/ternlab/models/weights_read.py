"""Reads weights from a file or a download as plain names and tensors; nothing in a file is ever executed."""

from __future__ import annotations

import contextlib
import pickle
import socket
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ternlab.core.errors import SettingsError
from ternlab.models.extra_state import is_extra_state
from ternlab.models.state_file import read_state
from ternlab.models.versions import keeping_versions
from ternlab.models.weights_file import check_torchvision_name, weights_kind, weights_path

_WRAPPERS = ("state_dict", "model", "net")
_NUMPY = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
)
_SECONDS_WITHOUT_ANSWER = 30.0


def read_file(source: str) -> dict[str, Any]:
    """Return the entries of a state dict, Lightning checkpoint or safetensors file, on the CPU.

    All are tensors, except for extra states of modules.

    Raises:
        SettingsError: the file is missing or damaged, or contains other Python objects or no tensors.
    """
    path = weights_path(source)
    if weights_kind(path) == "torch":
        return _tensors(_load_torch(path), path)
    try:
        return read_state(path)
    except Exception as error:  # a damaged file can fail in any way; every failure means the same
        raise _damaged(path, error) from error


def read_torchvision(name: str) -> dict[str, Any]:
    """Return torchvision's ImageNet weights of network `name` (V1, those of the published accuracies).

    They are kept in torch's cache (`$TORCH_HOME/hub/checkpoints`); the download is verified against its hash.

    Raises:
        SettingsError: torchvision has none for this network, or they cannot be downloaded or read.
    """
    check_torchvision_name(name)
    from torchvision.models import get_model_weights

    url: str = get_model_weights(name)["IMAGENET1K_V1"].url
    cache = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    try:
        with contextlib.redirect_stdout(sys.stderr), _network_timeout():
            state = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        if cache.exists():
            raise _damaged(cache, error, f"delete {cache} and run the command again") from error
        raise SettingsError(
            "model.weights",
            value="torchvision",
            rule=f"the download of {url} failed ({type(error).__name__}: {error})",
            instead=f"download {url} to a file, then model.weights=FILE",
        ) from error
    return _tensors(state, cache)


class _Ignored:
    """Stands for a numpy value in a checkpoint (an accuracy, a mean); nothing of it is kept or executed."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _load_torch(path: Path) -> object:
    ignored: list[Any] = [(_Ignored, name) for name in _NUMPY]
    try:
        with torch.serialization.safe_globals(ignored):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SettingsError(
            "model.weights",
            value=str(path),
            rule="the file is damaged, or holds Python objects other than tensors, which are never loaded "
            f"({_first_line(error)})",
            instead="save only its state dict: safetensors.torch.save_file(model.state_dict(), FILE)",
        ) from error
    except Exception as error:  # a damaged file can fail in any way; every failure means the same
        raise _damaged(path, error) from error


def _tensors(content: object, path: Path) -> dict[str, Any]:
    """Extract the state dict from a checkpoint and make sure that it contains only tensors and extra states."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
        tensors = {
            name: value
            for name, value in inner.items()
            if isinstance(value, Tensor) or (isinstance(name, str) and is_extra_state(name))
        }
        if tensors and len(tensors) == len(inner):
            return keeping_versions(inner, tensors)
        others = [str(name) for name in inner if name not in tensors]
        found = f"its entries {', '.join(others[:10])} are not tensors" if others else "it is empty"
    else:
        found = f"it holds a {type(content).__name__}"
    raise SettingsError(
        "model.weights",
        value=str(path),
        rule=f"the file is not a state dict, nor a checkpoint with one under 'state_dict': {found}",
        instead="save model.state_dict(), or {'state_dict': model.state_dict()}",
    )


@contextlib.contextmanager
def _network_timeout() -> Iterator[None]:
    """Make a network that drops packets, as on many compute nodes, fail instead of hang."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_WITHOUT_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _damaged(path: Path, error: Exception, instead: str = "copy the file again from its source") -> SettingsError:
    rule = f"the file is cut off or damaged ({_first_line(error)})"
    return SettingsError("model.weights", value=str(path), rule=rule, instead=instead)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].strip()
