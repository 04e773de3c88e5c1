"""What of a network's state a packed file holds beside codes and scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ternlab.core.errors import SettingsError
from ternlab.quantizers.weights import entry_of, named_weight

_FLOATS = (torch.float16, torch.float32, torch.float64)
_DTYPES = frozenset((*_FLOATS, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))


def entries_of(network: nn.Module, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the entries of the network's state that hold each named weight; several where a layer has several names.

    Names that the network does not have are left out.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    aliases: dict[nn.Module, list[str]] = {}
    for name, module in modules.items():
        aliases.setdefault(module, []).append(name)
    found = {name: named_weight(modules, name) for name in names}
    return {
        name: [entry_of(alias, place[1]) for alias in aliases[modules[place[0]]]]
        for name, place in found.items()
        if place is not None
    }


def kept_state(
    network: nn.Module,
    quantized: Mapping[str, list[str]],
    left_out: set[nn.Module] | frozenset[nn.Module] = frozenset(),
) -> dict[str, Any]:
    """Return the network's state without the quantized weights and BatchNorm's batch counts."""
    state = network.state_dict()
    for entries in quantized.values():
        for entry in entries:
            state.pop(entry, None)
    for name, module in network.named_modules(remove_duplicate=False):
        if module in left_out:
            for own in module.state_dict():
                state.pop(entry_of(name, own), None)
        if isinstance(module, _NormBase):
            state.pop(entry_of(name, "num_batches_tracked"), None)
    return state


def as_numpy(name: str, value: Any) -> NDArray[Any]:
    """Return an entry of the state as it is stored.

    Raises:
        SettingsError: it is no tensor, or of a type that packed files do not store.
    """
    if not isinstance(value, Tensor) or value.dtype not in _DTYPES:
        kind = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
        raise SettingsError(
            name, value=kind, rule="packed files store only float32", instead="call model.float() first"
        )
    return value.detach().cpu().contiguous().numpy()
