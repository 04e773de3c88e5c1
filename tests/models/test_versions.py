"""Versions of modules go with the weights, wherever these are loaded."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ternlab.export.packed import load, save
from ternlab.models.weights import load_weights
from ternlab.quantizers.attach import quantize
from ternlab.training.network import load_trained, save_weights


class Versioned(nn.Module):
    """Refuses states of its first version, as torchvision's MNASNet does."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(6, 4)
        self.last = nn.Linear(4, 3)
        self.seen: list[int | None] = []

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.last(self.layer(images))
        return found

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: dict[str, Any], *others: Any) -> None:
        self.seen.append(metadata.get("version"))
        if metadata.get("version") is None:
            raise RuntimeError("a state of the first version")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def test_final_weights_come_back_into_the_network_that_wrote_them(tmp_path: Path) -> None:
    save_weights(Versioned(), tmp_path / "weights")
    model = Versioned()
    load_trained(model, tmp_path / "weights")
    assert model.seen == [2]


@pytest.mark.parametrize("prefix", ["", "model.", "module.net."])
@pytest.mark.parametrize("version", [1, 2])
def test_a_file_keeps_its_own_versions(tmp_path: Path, prefix: str, version: int) -> None:
    source = Versioned().state_dict()
    moved = OrderedDict((f"{prefix}{name}", value) for name, value in source.items())
    versions = {f"{prefix}{name}".rstrip("."): found for name, found in source._metadata.items()}  # type: ignore[attr-defined]
    versions[prefix.rstrip(".")] = {"version": version}
    vars(moved)["_metadata"] = OrderedDict(versions)
    torch.save(moved, tmp_path / "weights.pt")
    model = Versioned()
    load_weights(model, str(tmp_path / "weights.pt"), name="versioned")
    assert model.seen == [version]


def test_a_file_without_versions_counts_as_one_of_today(tmp_path: Path) -> None:
    save_file(Versioned().state_dict(), tmp_path / "weights.safetensors")
    model = Versioned()
    load_weights(model, str(tmp_path / "weights.safetensors"), name="versioned")
    assert model.seen == [2]


def test_a_packed_file_is_loaded_into_it(tmp_path: Path) -> None:
    save(quantize(Versioned(), "tga"), tmp_path / "net")
    model = load(tmp_path / "net", model=Versioned())
    assert model(torch.ones(1, 6)).shape == (1, 3)
