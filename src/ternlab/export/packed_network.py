"""The plain network of a packed file: built from its header, and compared with it before anything is decoded."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn

from ternlab.core.errors import SettingsError, TernlabError
from ternlab.export.container import FileFormatError, shown
from ternlab.export.folding import foldable_pairs
from ternlab.export.header import PackedHeader
from ternlab.export.packed_state import entries_of
from ternlab.models.build import build_model
from ternlab.models.registry import MODELS, model_settings

# Of a network that is built from a header: 4 GiB in float32. Larger ones are loaded with `model=`.
_MOST_PARAMETERS = 2**30


def network_of(header: PackedHeader, path: Path, device: str) -> nn.Module:
    """Return the network; on the meta device it takes no memory until its arrays are known to fit."""
    found = header.architecture
    if found is None:
        raise SettingsError(
            "file",
            value=str(path),
            rule="does not say which network it is",
            instead="pass model=, the plain network",
        )
    if found.model["name"] not in MODELS:
        raise SettingsError(
            "model.name",
            value=shown(found.model["name"]),
            rule=f"the network of {path} is not registered",
            instead="import the module that registers it, or load(file, model=your_network)",
        )
    settings = model_settings(found.model)
    try:
        # Drawing first weights must not change what the caller draws next.
        with torch.random.fork_rng(devices=[]), torch.device(device):
            network = build_model(settings, channels=found.channels, size=found.size, classes=len(found.classes))
    except TernlabError:
        raise
    except Exception as error:  # builders raise what they like
        raise FileFormatError(
            f"{path}: its network cannot be built ({type(error).__name__})\n  instead: load(file, model=your_network)"
        ) from error
    elements = sum(value.numel() for value in itertools.chain(network.parameters(), network.buffers()))
    if elements > _MOST_PARAMETERS:
        raise FileFormatError(
            f"{path}: claims {elements} parameters, which is too many\n  instead: load(file, model=your_network)"
        )
    return network


def quantized_names(header: PackedHeader, network: nn.Module, path: Path) -> dict[str, list[str]]:
    """Return the names of each quantized weight in the network's state, by the layer's name in the header."""
    own = {name: tuple(value.shape) for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    every = entries_of(network, [layer.name for layer in header.layers])
    if any("parametrizations" in name.split(".") for name in own) and any(
        entry not in own for entries in every.values() for entry in entries
    ):
        raise SettingsError("model", rule="is already quantized", instead="the network from before quantize()")
    taken: set[str] = set()
    for layer in header.layers:
        entries = every.get(layer.name, [])
        there = own.get(entries[0]) if entries else None
        if there != layer.shape:
            raise FileFormatError(
                f"{path}: has weights of shape {shown(layer.shape)} for the layer {shown(layer.name)}, but the network "
                f"has {there or 'no such layer'}\n  instead: the network that was exported to the file"
            )
        if not taken.isdisjoint(entries):
            raise FileFormatError(f"{path}: has the layer {shown(layer.name)} twice\n  instead: export it again")
        taken.update(entries)
    return every


def check_folded(header: PackedHeader, network: nn.Module, path: Path) -> None:
    """Raise FileFormatError if the header folds a BatchNorm that the network does not have behind that convolution."""
    known = set(foldable_pairs(network)) if header.folded else set()
    for pair in header.folded:
        if pair not in known:
            raise FileFormatError(
                f"{path}: folds {shown(pair[1])} into {shown(pair[0])}, unlike the network\n"
                "  instead: the network that was exported to the file"
            )
        known.remove(pair)


def has_unsaved_buffers(network: nn.Module) -> bool:
    """Return whether the network computes with tensors that its state does not hold."""
    saved = network.state_dict()
    tensors = itertools.chain(network.named_buffers(), network.named_parameters())
    return any(name not in saved for name, _ in tensors)
